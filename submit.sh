#!/usr/bin/env bash
# Check what is committed, tag it, push the tag: ./submit.sh NAME   (docs/submitting.md)
set -euo pipefail
export LC_ALL=C  # so that A-Z are those letters and no others

fail() {
    echo "error: $*" >&2
    exit 1
}

[[ $# -eq 1 ]] || fail "one name is expected, $# came. Type: ./submit.sh NAME"
name=$1
tag="submission-$name"
[[ $name =~ ^[A-Za-z0-9._-]+$ ]] && git check-ref-format "refs/tags/$tag" ||
    fail "the name '$name' cannot be part of a tag. Use letters, digits, . _ and -, such as first-try"

cd "$(dirname "${BASH_SOURCE[0]}")"
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python3
    [[ -x .venv/bin/python ]] && PYTHON=.venv/bin/python
fi

git remote get-url aicrowd >/dev/null 2>&1 || fail "there is no git remote 'aicrowd'. Add it, with" \
    "the address of your repository at AIcrowd: git remote add aicrowd ADDRESS"
git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null &&
    fail "the tag $tag exists already. Choose another name; each submission has its own."
found=0
git ls-remote --exit-code aicrowd "refs/tags/$tag" >/dev/null || found=$?
case $found in
    0) fail "the tag $tag exists at the remote already. Choose another name." ;;
    2) ;;
    *) fail "the remote 'aicrowd' does not answer; see what git said above. Its address:" \
        "$(git remote get-url aicrowd)" ;;
esac

commit=$(git rev-parse HEAD)
earlier=$(git tag --points-at "$commit" --list 'submission-*' | head -n 1)
[[ -z $earlier ]] || fail "this commit was submitted as $earlier, and the host evaluates a commit once." \
    "Commit what you changed first, or git commit --allow-empty to have the same evaluated again."
"$PYTHON" -m evaluator package || fail "nothing was pushed: fix what is marked FAIL above."
git tag --annotate --message "Submission $name" "$tag" "$commit"
if ! git push aicrowd "refs/tags/$tag"; then
    git tag --delete "$tag" >/dev/null
    fail "the push was refused; see what git said above. The tag was taken back: try again."
fi
echo "Submitted $(git rev-parse --short "$commit") as $tag."
