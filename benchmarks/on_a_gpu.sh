#!/usr/bin/env bash
# What only a GPU can say, in the order of its worth:
#
#     bash benchmarks/on_a_gpu.sh                      every step, one after the other
#     bash benchmarks/on_a_gpu.sh training calibrate   these steps
#
# Each step prints what the pages quote into results/gpu/STEP.txt, beside the GPU's name, and takes
# minutes; one that fails does not keep the others from running. QUICK=1 takes small sizes, to see on
# a CPU that the steps run; PYTHON and OUT choose the interpreter and the folder.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
out=${OUT:-results/gpu}
quick=(${QUICK:+--quick})

tests() { "$python" -m pytest -m gpu -q; }
calibrate() { "$python" -m evaluator calibrate --out "$out/calibration.json"; }
training() { "$python" benchmarks/training.py "${quick[@]}" --epochs 5; }
purchase() { "$python" benchmarks/purchase.py "${quick[@]}"; }
scores() { "$python" benchmarks/training.py "${quick[@]}" --scores 5 --pipelines b0-unfrozen quick; }
profile() { "$python" benchmarks/training.py "${quick[@]}" --profile; }
steps() { "$python" benchmarks/training.py "${quick[@]}" --steps; }
leaderboard() {
    "$python" local_evaluation.py --recipe round2 --strategy random entropy badge --pairs public \
        --pipeline all --weights none --plan
}

known=(tests calibrate training profile purchase scores steps leaderboard)
failed=()
mkdir -p "$out"
for step in "${@:-${known[@]}}"; do
    if [[ " ${known[*]} " != *" $step "* ]]; then
        echo "There is no step $step; there are ${known[*]}." >&2
        exit 2
    fi
    echo "== $step"
    "$step" 2> >(tee "$out/$step.log" >&2) | tee "$out/$step.txt" || failed+=("$step")
done
if ((${#failed[@]})); then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
