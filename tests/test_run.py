"""The submission against stand-ins of the organisers' evaluator: without our evaluator."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import run
from core.max_pool_mil import NetworkOutput
from models.learner import Predictions
from models.network_learner import NetworkLearner
from models.networks import AcquisitionNetwork
from models.speed import Speed
from strategies.events import Event
from strategies.pool_view import AXES
from tests.strategies.test_contract import LOOKS_AT

N_CLASSES = 3


class Sheets:
    """A plain data set: `idx` is not the position, labels are there or not."""

    def __init__(self, n: int, seed: int, *, labelled: bool, kind: str = "array") -> None:
        rng = np.random.default_rng(seed)
        self._images = rng.integers(0, 130, (n, 24, 24, 3), dtype=np.uint8)
        self._labels = (rng.random((n, N_CLASSES)) < 0.25).astype(np.int64)
        for image, label in zip(self._images, self._labels, strict=True):
            for c in np.flatnonzero(label):
                row, column = rng.integers(0, 18, 2)
                image[row : row + 6, column : column + 6, c] = 255
        self._labelled, self._kind = labelled, kind
        self.sold: list[int] = []
        self.seconds_per_purchase = 0.0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, position: int) -> dict[str, object]:
        image: object = self._images[position]
        if self._kind == "PIL":
            image = Image.fromarray(self._images[position])
        if self._kind == "tensor":
            image = torch.from_numpy(self._images[position]).permute(2, 0, 1)
        if self._kind == "sizes" and position % 2:
            image = Image.fromarray(self._images[position]).resize((40, 30))
        label = self._labels[position] if self._labelled else None
        return {"idx": self.index(position), "image": image, "label": label}

    def index(self, position: int) -> int:
        return 5000 - 2 * position

    def purchase_label(self, idx: int) -> np.ndarray:
        assert idx not in self.sold
        assert len(self.sold) < self.budget, "more was bought than the budget allows"
        self.sold.append(idx)
        time.sleep(self.seconds_per_purchase)
        return self._labels[(5000 - idx) // 2]

    budget = 0


def config(folder: Path, text: str = "") -> Path:
    """A small configuration that leaves every plan at its limits, so that it is repeatable."""
    path = folder / "submission.toml"
    path.write_text(
        text
        or """
        strategy = "entropy"
        [learner]
        device = "cpu"
        backbone = "small"
        batch_size = 16
        members = 2
        [planner]
        epochs = 3
        refit_epochs = 2
        max_rounds = 2
        """
    )
    return path


def pool(n: int = 80, budget: int = 20, **how: str) -> Sheets:
    sheets = Sheets(n, 1, labelled=False, **how)
    sheets.budget = budget
    return sheets


def train(n: int = 40, **how: str) -> Sheets:
    return Sheets(n, 0, labelled=True, **how)


@pytest.mark.parametrize(
    ("spelling", "strategy"),
    [
        *((spelling, "random") for spelling in ("page", "kit", "both", "positional")),
        ("page", "entropy"),
        ("page", "winner"),
    ],
)
def test_phases_accept_every_spelling_of_their_arguments(
    spelling: str, strategy: str, tmp_path: Path
) -> None:
    submission = run.ZEWDPCBaseRun(strategy=strategy, config=config(tmp_path))
    training, unlabelled, heard = train(), pool(), []
    if spelling == "page":
        submission.pre_training_phase(training, time_available=600, register_progress=heard.append)
        bought = submission.purchase_phase(
            unlabelled, training, budget=20, time_available=600, register_progress=heard.append
        )
    elif spelling == "kit":
        submission.pre_training_phase(training, compute_budget=600, register_progress=heard.append)
        bought = submission.purchase_phase(
            unlabelled,
            training,
            purchase_budget=20,
            compute_budget=600,
            register_progress=heard.append,
        )
    elif spelling == "both":
        submission.pre_training_phase(
            training, time_available=600, compute_budget=600, register_progress=heard.append
        )
        bought = submission.purchase_phase(
            unlabelled,
            training,
            budget=20,
            purchase_budget=20,
            time_available=600,
            compute_budget=600,
            register_progress=heard.append,
        )
    else:
        submission.pre_training_phase(training, 600, heard.append)
        bought = submission.purchase_phase(unlabelled, training, 20, 600, heard.append)
    predictions = submission.prediction_phase(Sheets(7, 2, labelled=False), heard.append)
    assert sorted(bought) == sorted(unlabelled.sold)
    assert len(bought) == 20
    for idx, label in bought.items():
        np.testing.assert_array_equal(label, unlabelled._labels[(5000 - idx) // 2])
    assert predictions.shape == (7, N_CLASSES)
    assert predictions.dtype == np.uint8
    assert set(np.unique(predictions)) <= {0, 1}
    assert min(heard) >= 0
    assert max(heard) <= 1


@pytest.mark.parametrize("kind", ["PIL", "tensor", "sizes"])
def test_phases_accept_images_of_any_type(kind: str, tmp_path: Path) -> None:
    submission = run.ZEWDPCRun("entropy:rounds=1", config=config(tmp_path))
    training, unlabelled = train(kind=kind), pool(kind=kind)
    submission.pre_training_phase(training, 600)
    assert len(submission.purchase_phase(unlabelled, training, 20, 600)) == 20
    assert submission.prediction_phase(Sheets(5, 2, labelled=True, kind=kind)).shape == (5, 3)


def picks(folder: Path, strategy: str, seed: int) -> list[int]:
    submission = run.ZEWDPCRun(strategy, seed, config(folder))
    training, unlabelled = train(), pool()
    submission.pre_training_phase(training, 600)
    submission.purchase_phase(unlabelled, training, 20, 600)
    return unlabelled.sold


@pytest.mark.parametrize("strategy", ["random", "entropy"])
def test_purchase_phase_repeats_with_its_seed_alone(strategy: str, tmp_path: Path) -> None:
    runs = []
    for other in (1, 2):
        torch.manual_seed(other)
        random.seed(other)
        np.random.seed(other)  # noqa: NPY002  (the global one is what is watched)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        runs.append(picks(tmp_path, strategy, seed=3))
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1] == random.getstate()
        assert before[2] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert runs[0] == runs[1]
    assert picks(tmp_path, strategy, seed=4) != runs[0]


@pytest.mark.parametrize(
    ("n_pool", "budget"), [(80, 0), (80, 1), (80, 79), (80, 80), (10, 10), (10, 25)]
)
@pytest.mark.parametrize("strategy", ["random", "entropy"])
def test_purchase_phase_spends_the_whole_budget(
    n_pool: int, budget: int, strategy: str, tmp_path: Path
) -> None:
    submission = run.ZEWDPCRun(strategy, config=config(tmp_path))
    training, unlabelled = train(), pool(n_pool, budget)
    submission.pre_training_phase(training, 600)
    assert len(submission.purchase_phase(unlabelled, training, budget, 600)) == min(n_pool, budget)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 5.0])
def test_purchase_phase_without_time_buys_at_once(seconds: float, tmp_path: Path) -> None:
    submission = run.ZEWDPCRun("entropy", config=config(tmp_path))
    training, unlabelled = train(), pool(1000, 300)
    submission.pre_training_phase(training, seconds)
    started = time.monotonic()
    assert len(submission.purchase_phase(unlabelled, training, 300, seconds)) == 300
    assert time.monotonic() - started < seconds + 2.0
    assert submission.prediction_phase(Sheets(5, 2, labelled=True)).shape == (5, 3)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["entropy", "winner"])
def test_purchase_phase_keeps_a_real_deadline(strategy: str, tmp_path: Path) -> None:
    text = f"""
    strategy = "{strategy}"
    [learner]
    device = "cpu"
    [planner]
    epochs = 1000
    refit_epochs = 1000
    """
    submission = run.ZEWDPCRun(config=config(tmp_path, text))
    training, unlabelled = train(200), pool(1500, 300)
    unlabelled.seconds_per_purchase = 0.002
    began = time.monotonic()
    submission.pre_training_phase(training, 10.0)
    bought = submission.purchase_phase(unlabelled, training, 300, 10.0 - (time.monotonic() - began))
    assert len(bought) == 300
    assert time.monotonic() - began < 10.0


class SlowSheets(Sheets):
    """Every reading takes `seconds_per_reading` of the virtual time in `waited`."""

    def __init__(
        self, n: int, seed: int, *, labelled: bool, waited: list[float], seconds_per_reading: float
    ) -> None:
        super().__init__(n, seed, labelled=labelled)
        self._waited, self._seconds_per_reading = waited, seconds_per_reading
        self.read: list[int] = []
        self.first_sold: float | None = None

    def __getitem__(self, position: int) -> dict[str, object]:
        self.read.append(position)
        self._waited.append(self._seconds_per_reading)
        return super().__getitem__(position)

    def purchase_label(self, idx: int) -> np.ndarray:
        self.first_sold = self.first_sold or sum(self._waited)
        return super().purchase_label(idx)


def test_purchase_phase_reads_a_slow_pool_in_part_and_at_random(tmp_path: Path) -> None:
    waited: list[float] = []

    def clock() -> float:
        return time.monotonic() + sum(waited)

    training = SlowSheets(40, 0, labelled=True, waited=waited, seconds_per_reading=0.005)
    unlabelled = SlowSheets(2000, 1, labelled=False, waited=waited, seconds_per_reading=0.5)
    unlabelled.budget = 20
    path = config(tmp_path)
    path.write_text(path.read_text().replace("[learner]", "[learner]\nthreads = 1"))
    submission = run.ZEWDPCRun("entropy", config=path, clock=clock)
    assert len(submission.purchase_phase(unlabelled, training, 20, 900)) == 20
    assert unlabelled.first_sold is not None
    assert unlabelled.first_sold < 450
    assert 500 < len(set(unlabelled.read)) == len(unlabelled.read) < 1000
    assert np.mean(unlabelled.read) == pytest.approx(1000, rel=0.1)  # not the first files


@pytest.mark.parametrize(("believed", "epochs"), [(0.001, [3]), (9.0, [1, 3])])
def test_pre_training_phase_fits_again_where_most_of_its_time_is_left(
    believed: float, epochs: list[int], tmp_path: Path
) -> None:
    """As where a stall was taken for the machine's speed."""

    class Miscalibrated(NetworkLearner):
        def measure_speed(self, images: torch.Tensor, labels: torch.Tensor) -> Speed:
            return Speed(fit=believed, look=0.001)

    events: list[Event] = []
    submission = run.ZEWDPCRun(
        "entropy", config=config(tmp_path), on_event=events.append, new_learner=Miscalibrated
    )
    submission.pre_training_phase(train(), 60)
    assert [event.facts["epochs"] for event in events if event.name == "fit"] == epochs


def test_purchase_without_pre_training_learns_first_and_buys_the_same(tmp_path: Path) -> None:
    submission, unlabelled = run.ZEWDPCRun("entropy", 0, config(tmp_path)), pool()
    assert len(submission.purchase_phase(unlabelled, train(), 20, 600)) == 20
    assert unlabelled.sold == picks(tmp_path, "entropy", 0)


@pytest.mark.parametrize("strategy", ["random", "entropy"])
def test_purchase_phase_called_twice_equals_two_fresh_objects(
    strategy: str, tmp_path: Path
) -> None:
    training, test = train(), Sheets(30, 2, labelled=False)

    def purchase(submission: run.ZEWDPCRun, n_pool: int) -> tuple[list[int], np.ndarray]:
        unlabelled = pool(n_pool)
        submission.purchase_phase(unlabelled, training, 20, 600)
        return unlabelled.sold, submission.prediction_phase(test)

    reused = run.ZEWDPCRun(strategy, 0, config(tmp_path))
    reused.pre_training_phase(training, 600)
    for n_pool in (80, 70):
        fresh = run.ZEWDPCRun(strategy, 0, config(tmp_path))
        fresh.pre_training_phase(training, 600)
        expected, predicted = purchase(fresh, n_pool)
        bought, answered = purchase(reused, n_pool)
        assert bought == expected
        np.testing.assert_array_equal(answered, predicted)


def test_purchase_phase_after_a_failed_one_starts_afresh(tmp_path: Path) -> None:
    submission, unlabelled = run.ZEWDPCRun("entropy", 0, config(tmp_path)), pool(budget=13)
    training = train()
    with pytest.raises(AssertionError, match="more was bought"):
        submission.purchase_phase(unlabelled, training, 20, 600)
    unlabelled = pool()
    submission.purchase_phase(unlabelled, training, 20, 600)
    assert unlabelled.sold == picks(tmp_path, "entropy", 0)


def test_phases_without_a_time_are_bounded_by_epochs_and_by_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = run.ZEWDPCRun("entropy", 0, config(tmp_path))
    few.pre_training_phase(train())
    unlabelled = pool()
    few.purchase_phase(unlabelled, train(), 20)
    assert unlabelled.sold == picks(tmp_path, "entropy", 0)  # as with ample time

    monkeypatch.setattr(run, "SECONDS_IF_NOT_GIVEN", 5.0)
    path = config(tmp_path)
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 1000000"))
    endless = run.ZEWDPCRun("entropy", 0, path)
    began = time.monotonic()
    endless.pre_training_phase(train())
    assert time.monotonic() - began < 5.0
    began = time.monotonic()
    assert len(endless.purchase_phase(pool(), train(), 20)) == 20
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_prediction_phase_bounds_a_fit_that_there_was_no_time_for(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LATE_FIT_SECONDS", seconds)
    path = config(tmp_path)
    path.write_text(path.read_text().replace("refit_epochs = 2", "refit_epochs = 1000000"))
    submission, training = run.ZEWDPCRun("entropy", 0, path), train()
    submission.pre_training_phase(training, 0.0)
    submission.purchase_phase(pool(), training, 20, 0.0)
    began = time.monotonic()
    assert submission.prediction_phase(Sheets(5, 2, labelled=True)).shape == (5, N_CLASSES)
    assert time.monotonic() - began < seconds + 5.0


def test_phases_refuse_two_spellings_that_disagree(tmp_path: Path) -> None:
    submission = run.ZEWDPCRun(config=config(tmp_path))
    with pytest.raises(TypeError, match=r"is 20 and .* is 30"):
        submission.purchase_phase(pool(), train(), budget=20, purchase_budget=30, time_available=9)
    with pytest.raises(TypeError, match="needs `budget`"):
        submission.purchase_phase(pool(), train())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('strategi = "random"', "valid are strategy, seed, learner, planner"),
        ('seed = "0"', "'seed' must be a whole number"),
        ("seed = true", "a whole number"),
        ("[learner]\nmember = 3", "valid are device, backbone"),
        ("[learner]\nmembers = 2.5", r"\[learner\]: 'members' must be a whole number"),
        ("[learner]\nmembers = 0", r"\[learner\]: 'members' must be a whole number from 1; got 0"),
        ("[planner]\nepochs = 'many'", r"\[planner\]: 'epochs' must be a whole number"),
        ("[planner]\nreserve_share = 1", "between 0 and 1"),
        ('strategy = "no-such-strategy"', "entropy"),
        ('strategy = "bald"\n[learner]\nmembers = 1', "'bald' .* needs `members` of at least 2"),
        ("strategy = ", "not valid TOML"),
        ("strategy = " + "[" * 5000, "not valid TOML"),
        (
            "[learner]\nlearning_rate = nan",
            "'learning_rate' must be a finite number from 0; got nan",
        ),
        ("[planner]\nreserve_seconds = inf", "'reserve_seconds' must be a finite number from 0"),
        ("[learner]\ndevice = 'gpu'", "`device` must be auto, cpu, cuda or cuda:N; got 'gpu'"),
    ],
)
def test_configuration_names_the_mistake(text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=word):
        run.ZEWDPCRun(config=config(tmp_path, text))


def test_configuration_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        run.ZEWDPCRun(config=tmp_path / "nowhere.toml")


def test_constructor_arguments_override_the_file(tmp_path: Path) -> None:
    path = config(tmp_path, 'strategy = "entropy"\nseed = 1\n')
    assert run.ZEWDPCRun(config=path).config.strategy.name == "entropy"
    assert run.ZEWDPCRun(config=path).config.seed == 1
    overridden = run.ZEWDPCRun("random", 9, path).config
    assert (overridden.strategy.name, overridden.seed) == ("random", 9)


def test_submission_toml_as_shipped_is_valid() -> None:
    assert run.ZEWDPCRun().config.strategy.name
    described = run.describe_strategies()
    assert {"random", "entropy", "winner"} <= {entry["name"] for entry in described}
    assert all(set(entry) == {"name", "summary", "source", "parameters"} for entry in described)
    parameters = {entry["name"]: entry["parameters"] for entry in described}
    assert parameters["uherding"] == "radius=auto, temperature=auto, anchors=10000"
    assert parameters["entropy"] == ""


LOOKING = ("uherding", "disagreement", "hard-classes")  # between them at all there is to see


def test_looking_strategies_cover_every_view() -> None:
    assert set().union(*(LOOKS_AT[name] for name in LOOKING)) == set(AXES)


@pytest.mark.parametrize("name", LOOKING)
def test_purchase_phase_gives_each_strategy_its_views(name: str, tmp_path: Path) -> None:
    submission = run.ZEWDPCRun(name, config=config(tmp_path))
    training, unlabelled = train(), pool()
    submission.pre_training_phase(training, 600)
    assert len(submission.purchase_phase(unlabelled, training, 20, 600)) == 20


@pytest.mark.parametrize("from_look", [0, 1])
@pytest.mark.parametrize("strategy", ["entropy", "badge"])
def test_purchase_phase_with_a_diverged_learner_spends_the_budget(
    strategy: str,
    from_look: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, forward, infer = 0, AcquisitionNetwork.forward, NetworkLearner.infer

    def counting(
        self: NetworkLearner, images: torch.Tensor, deadline: float | None = None
    ) -> Predictions:
        nonlocal looks
        looks += 1
        return infer(self, images, deadline)

    def diverging(self: AcquisitionNetwork, images: torch.Tensor) -> NetworkOutput:
        views = forward(self, images)
        broken = not self.training and looks > from_look
        return NetworkOutput(*(v * torch.nan for v in views)) if broken else views

    events: list[Event] = []
    submission = run.ZEWDPCRun(
        f"{strategy}:rounds=2", config=config(tmp_path), on_event=events.append
    )
    training, unlabelled = train(), pool()
    submission.pre_training_phase(training, 600)
    monkeypatch.setattr(AcquisitionNetwork, "forward", diverging)
    monkeypatch.setattr(NetworkLearner, "infer", counting)
    assert len(submission.purchase_phase(unlabelled, training, 20, 600)) == 20
    assert "learner_diverged" in {event.name for event in events}
    by = [event.facts["by"] for event in events if event.name == "bought"]
    assert by == (["random"] if from_look == 0 else ["strategy", "last look"])
    assert submission.prediction_phase(Sheets(5, 2, labelled=True)).shape == (5, 3)


@pytest.mark.parametrize("strategy", ["badge", "uherding"])
def test_probabilities_and_embeddings_of_the_pool_come_from_one_pass(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[tuple[int, int]] = []  # images asked about, images that went through a net
    passed = 0
    infer, forward = NetworkLearner.infer, AcquisitionNetwork.forward

    def counting_forward(self: AcquisitionNetwork, images: torch.Tensor) -> NetworkOutput:
        nonlocal passed
        passed += len(images)
        return forward(self, images)

    def counting(
        self: NetworkLearner, images: torch.Tensor, deadline: float | None = None
    ) -> Predictions:
        before = passed
        predictions = infer(self, images, deadline)
        looks.append((len(images), passed - before))
        return predictions

    submission = run.ZEWDPCRun(f"{strategy}:rounds=2", config=config(tmp_path))
    training, unlabelled = train(), pool()
    submission.pre_training_phase(training, 600)
    monkeypatch.setattr(AcquisitionNetwork, "forward", counting_forward)
    monkeypatch.setattr(NetworkLearner, "infer", counting)
    submission.purchase_phase(unlabelled, training, 20, 600)
    members = submission.config.learner.members
    at_the_pool = [counts for counts in looks if counts[0] in (80, 70)]
    assert at_the_pool == [(80, 80 * members), (70, 70 * members)]
