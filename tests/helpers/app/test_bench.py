"""`make bench`: the tables are its state, and belong to what the code computes."""

from importlib.metadata import version

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open

from helpers import trials, verdicts
from helpers.app import bench, record
from tests.helpers.toys import sets, small


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A bench of two chapters whose runs cost nothing: what it did, and knobs."""
    rates = trials.Trial("08_x/common", dict(U={}, V={}), tune=True)
    variants = {("b", 1): dict(lr=0.1), ("a", 1): dict(lr=0.1)}
    two = trials.Trial("04_x/two", variants, levels=("x", "y"))
    variants = dict(U=dict(lr=trials.rate("U")))
    asks = trials.Trial("04_x/asks", variants, budgets=(250,))
    book = {"04_x": dict(two=two, asks=asks), "08_x": dict(common=rates)}
    claim = dict(chapter="04_x", trial="two", better=["b", 1], worse=["a", 1])
    state = dict(done=[], stop=None, best=5e-3, spread=0.001, book=book, broken=None)
    state["marks"] = {}
    monkeypatch.setattr(trials, "RECORDS", tmp_path)
    monkeypatch.setattr(bench, "trials_of", book.get)
    monkeypatch.setattr(bench, "with_trials", lambda: list(book))
    monkeypatch.setattr(verdicts, "claims", lambda: dict(slug=claim))
    monkeypatch.setattr(bench.joblib, "cpu_count", lambda: 1)

    def marks(keys, nudge=0):
        found = {}
        for key in keys:
            chaos = "0.1" if nudge else "8.5"
            found[key] = dict(macs="1", loss="2", chaos=chaos) | state["marks"].get(
                key, {}
            )
        return found

    def execute(job):
        if len(state["done"]) == state["stop"]:
            raise KeyboardInterrupt
        if job["variant"] == state["broken"]:
            return job, "ValueError: broken"
        state["done"].append(job)
        if "lr" in job:
            far = abs(job["lr"] - state["best"])
            return job, dict(validation=1 - far)
        trial = book[job["chapter"]][job["trial"]]
        name = trial.named(job["variant"])
        row = {k: job[k] for k in trials.KEYS}
        row["lr"] = trial.settings_of(name, job["steps"])["lr"]
        sign = (-1) ** job["seed"] if job["variant"].startswith("b") else 0
        return job, row | dict(canary="1", iou=0.5 + sign * state["spread"])

    monkeypatch.setattr(bench, "marks", marks)
    monkeypatch.setattr(bench, "execute", execute)
    return state


def run(monkeypatch, *arguments):
    """`make bench` once; its exit status."""
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as end:
        bench.main()
    return end.value.code


RUNS = 5 * (2 * 2 + 1 + 2 * 2)  # seeds; two of two budgets, one of one, two of two
PILOTS = 2 * 2 * (5 + 3)  # variants, seeds; short rates and long ones


def test_bench_chooses_rates_and_fills_the_tables(house, monkeypatch):
    assert not run(monkeypatch)
    pilots = [job for job in house["done"] if "lr" in job]
    assert len(pilots) == PILOTS and len(house["done"]) == PILOTS + RUNS
    assert {job["seed"] for job in pilots} == {0, 1}
    long = [job for job in pilots if job["kind"] == "long"]
    assert {job["steps"] for job in long} == {1000}
    assert {job["lr"] for job in long} == {2e-3, 5e-3, 1.25e-2}
    assert trials.chosen_rate("U", 250) == trials.chosen_rate("V", 1000) == 5e-3
    table = trials.read("04_x")
    assert len(table) == 25 and table.equals(table.sort_values(trials.KEYS))
    assert set(table[table.trial == "asks"].lr) == {5e-3}
    assert sorted(set(table.seed)) == [100, 101, 102, 103, 104]
    assert trials.origin("04_x")["claims"] == dict(slug=verdicts.fixed("slug"))
    assert trials.origin("04_x")["torch"] == version("torch")
    short = [job["seed"] for job in house["done"] if job["steps"] == 250]
    assert short[-25:] == sorted(short[-25:])  # seed by seed


def test_the_grid_of_rates_goes_one_step_beyond_its_edge(house, monkeypatch):
    house["best"] = 0.09
    run(monkeypatch, "--rates")
    assert trials.chosen_rate("U", 250) == bench.RATES[-1] * 2.5
    assert len(house["done"]) == PILOTS + 2 * 2
    run(monkeypatch, "--rates")  # and not further
    assert len(house["done"]) == PILOTS + 2 * 2
    assert not list(trials.RECORDS.glob("0*.csv"))


def test_a_second_bench_is_refused_while_one_runs(house, monkeypatch, capsys):
    with FileLock(trials.RECORDS / ".bench.lock"):
        assert run(monkeypatch) == 2
        assert "another bench is running here" in capsys.readouterr().err
        assert run(monkeypatch, "--check") == 1  # it writes nothing
    assert not house["done"]
    assert not run(monkeypatch)


def test_lines_end_alike_on_every_system(house, monkeypatch):
    monkeypatch.setattr("os.linesep", "\r\n")  # as on Windows
    run(monkeypatch)
    tables = list(trials.RECORDS.glob("*.csv"))
    assert len(tables) == 5
    for path in tables:
        assert b"\r" not in path.read_bytes(), path.name


@pytest.mark.parametrize("arguments, gpu", [((), False), (("--gpu",), True)])
def test_every_job_is_told_whether_there_is_a_gpu(house, monkeypatch, arguments, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not run(monkeypatch, *arguments)
    assert {job["gpu"] for job in house["done"]} == {gpu}


@pytest.mark.parametrize("stop", [3, 45, 70])
def test_bench_goes_on_where_it_was_stopped(house, monkeypatch, stop):
    house["stop"] = stop
    monkeypatch.setattr("sys.argv", ["bench"])
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    house["stop"] = None
    run(monkeypatch)
    run(monkeypatch)  # nothing is left to do
    assert len(house["done"]) == PILOTS + RUNS
    jobs = [
        tuple(job.get(k) for k in ("lr", "kind", *trials.KEYS)) for job in house["done"]
    ]
    assert len(set(jobs)) == len(jobs)  # none twice


def test_a_wide_interval_asks_for_ten_seeds_of_that_trial(house, monkeypatch):
    house["spread"] = 0.2
    run(monkeypatch)
    table = trials.read("04_x")
    assert set(table[table.trial == "two"].groupby(["variant", "steps"]).size()) == {10}
    assert len(table[table.trial == "asks"]) == len(trials.read("08_x")) / 4 == 5


def test_one_chapter_is_recorded_with_the_rates_it_asks_for(house, monkeypatch):
    run(monkeypatch, "04")
    assert len(trials.read("04_x")) == 25 and not len(trials.read("08_x"))
    assert run(monkeypatch, "99") == 2


def test_what_computes_something_else_is_trained_anew(house, monkeypatch):
    run(monkeypatch)
    assert run(monkeypatch, "--check") == 0
    before = len(house["done"])
    house["marks"]["04_x", "two", "a, 1"] = dict(macs="3")
    assert run(monkeypatch, "--check") == 1 and len(house["done"]) == before
    run(monkeypatch)
    again = house["done"][before:]
    assert {job["variant"] for job in again} == {"a, 1"} and len(again) == 10
    assert len(trials.read("04_x")) == 25
    assert run(monkeypatch, "--check") == 0


def test_what_a_nudge_moves_is_not_compared(house, monkeypatch):
    run(monkeypatch)
    assert bench.noted(["04_x"])["04_x", "asks", "U"]["chaos"] == "8.5~"
    house["marks"]["04_x", "asks", "U"] = dict(chaos="7")
    assert run(monkeypatch, "--check") == 0
    house["marks"]["04_x", "asks", "U"] = dict(score="7")  # one more number
    assert run(monkeypatch, "--check") == 1


@pytest.mark.parametrize(
    "kept, text, agree",
    [
        ("0.3~", "0.5", True), ("0.5", "0.5", True), ("nan", "nan", True),
        ("0.123456", "0.123457", True), ("0.123456", "0.123556", False),
        ("0.123456~2", "0.123556", True), ("0.123456~2", "0.133556", False),
        ("116337", "116338", False), (None, "0.5", False), ("0.5", None, False),
    ],
)  # fmt: skip
def test_marks_agree_in_their_steady_digits_and_counts_exactly(kept, text, agree):
    assert bench.same(kept, text) == agree


@pytest.mark.parametrize(
    "nudged, kept",
    [("0.123457", "0.123456"), ("0.123656", "0.123456~2"), ("0.5", "0.123456~")],
)
def test_digits_that_a_nudge_moves_are_not_steady(nudged, kept):
    assert bench.steady("0.123456", nudged) == kept
    assert bench.same(kept, nudged)


def test_another_rate_is_another_training(house, monkeypatch):
    run(monkeypatch)
    before = len(house["done"])
    rates = trials.rates()
    short_u = (rates.network == "U") & (rates.budget == "short")
    rates.loc[short_u & (rates.lr == 2e-3), "validation"] = 2
    rates.to_csv(trials.RECORDS / "rates.csv", index=False)
    run(monkeypatch)
    again = [job for job in house["done"][before:] if "lr" not in job]
    assert {(job["chapter"], job["variant"], job["steps"]) for job in again} == {
        ("04_x", "U", 250), ("08_x", "U", 250),
    }  # fmt: skip
    assert set(trials.read("04_x").query("trial == 'asks'").lr) == {2e-3}


def test_a_variant_that_is_gone_leaves_the_table(house, monkeypatch):
    run(monkeypatch)
    del house["book"]["04_x"]["two"].variants["a", 1]
    monkeypatch.setattr(verdicts, "claims", dict)
    run(monkeypatch)
    assert set(trials.read("04_x").variant) == {"U", "b, 1"}
    assert ("04_x", "two", "a, 1") not in bench.noted(["04_x"])


def test_an_error_is_told_and_stops_nothing(house, monkeypatch, capsys):
    house["broken"] = "b, 1"
    assert run(monkeypatch) == 1
    assert "seed 104: NOT RECORDED, ValueError: broken" in capsys.readouterr().out
    assert len(trials.read("04_x")) == 15
    assert run(monkeypatch, "04", "99") == 2
    assert "no chapter 99 has a trial to record" in capsys.readouterr().err
    house["broken"] = None
    assert not run(monkeypatch)
    assert len(trials.read("04_x")) == 25


def test_without_all_pilots_no_seed_is_trained(house, monkeypatch):
    house["broken"] = "V"
    assert run(monkeypatch) == 1 and run(monkeypatch, "--rates") == 1
    assert all("lr" in job for job in house["done"])


def test_a_trial_may_ask_for_seeds_of_its_own(house, monkeypatch):
    own = trials.Trial("04_x/own", dict(W=dict(lr=0.1)), record=range(100, 103))
    house["book"]["04_x"]["own"] = own
    assert not run(monkeypatch)
    table = trials.read("04_x")
    assert sorted(set(table[table.trial == "own"].seed)) == [100, 101, 102]


def test_two_trials_of_one_network_share_its_pilots(house, monkeypatch):
    again = trials.Trial("04_x/again", dict(U={}), tune=True)
    house["book"]["04_x"]["again"] = again
    assert not run(monkeypatch)
    assert len([job for job in house["done"] if "lr" in job]) == PILOTS


# --- one job ----------------------------------------------------------------------


def diverging(logits, masks):
    return logits.sum() * float("nan")


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """A chapter of one trial that trains in no time."""
    variants = dict(A=dict(net=small, lr=0.01), B=dict(net=small, loss=diverging))
    trial = trials.Trial(
        "toys/a", variants, lambda seed: sets(), steps=6, budgets=(6, 12), keep=["A"]
    )
    monkeypatch.setattr(record, "trials_of", lambda chapter: dict(a=trial))
    monkeypatch.setattr(record, "WEIGHTS", tmp_path / "weights")
    return trial


def test_a_row_is_that_of_the_trial_and_the_longest_network_is_kept(toys):
    job = dict(chapter="toys", trial="a", variant="A", steps=12, seed=100)
    found, row = record.execute(job)
    run_, scores = toys.one("A", 100, 12)
    assert found == job and row["canary"] == record.fingerprint.canary()
    for key, value in scores.items():
        assert row[key] == round(value, 5) or key == "seconds"
    with safe_open(record.WEIGHTS / "A.safetensors", "pt") as kept:
        assert kept.metadata() == dict(threshold=str(run_.threshold))
        for key, value in run_.net.state_dict().items():
            half = value.half() if value.is_floating_point() else value
            assert torch.equal(kept.get_tensor(key), half)
    (record.WEIGHTS / "A.safetensors").unlink()
    record.execute(job | dict(steps=6))
    record.execute(job | dict(seed=101))
    assert not list(record.WEIGHTS.iterdir())


def test_a_row_that_was_made_on_a_gpu_names_it_and_tells_no_seconds(toys, monkeypatch):
    """Here the engine finds no GPU: it computes the same on the processor."""
    job = dict(chapter="toys", trial="a", variant="A", steps=6, seed=100)
    here = record.train(job)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    job |= dict(gpu=True)
    there = record.train(job)
    assert there.pop("canary") == f"a card, torch {torch.__version__}"
    assert "seconds" not in there and there.items() <= here.items()
    pilot = record.train(job | dict(lr=0.02))
    assert pilot["lr"] == 0.02 and "iou" not in pilot


def test_a_bench_on_a_gpu_needs_one(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["bench", "--gpu"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "leave --gpu out" in capsys.readouterr().err


def test_a_pilot_has_the_rate_it_tries_and_may_diverge(toys):
    job = dict(chapter="toys", trial="a", variant="A", steps=6, seed=0, lr=0.02)
    assert record.execute(job)[1]["lr"] == 0.02
    assert record.execute(job | dict(variant="B"))[1] == dict(validation=0)
    del job["lr"]
    assert "the loss is nan" in record.execute(job | dict(variant="B"))[1]
    assert "KeyError" in record.execute(job | dict(variant="C"))[1]


# --- the book's own record --------------------------------------------------------


def recorded():
    """The chapters that have a record."""
    found = []
    for name in bench.with_trials():
        if bench.noted([name]):
            found.append(name)
    return found


def test_the_record_belongs_to_this_code():
    """Of each trial and every third variant; `bench --check` looks at all."""
    names = recorded()
    then = bench.noted(names)
    keys, first = bench.variants(names), {}
    for key in keys:
        first.setdefault(key[:2], key)  # of each trial, and then of others
    now = bench.marks(list(dict.fromkeys([*first.values(), *keys[::3]])))
    assert not bench.changed(now, then), "the code has changed: make bench"


def test_a_training_repeats_its_record():
    """To the fourth digit, on a processor that rounds as the recorder's."""
    trial = bench.trials_of("00_segmentation")["common"]
    (name,) = trial.variants
    _, row = trial.one(name, 100, trial.steps)
    then = trial.recorded(trial.steps).loc[name, 100]
    alike = then.canary == record.fingerprint.canary()
    apart = abs(row["iou"] - then.iou)
    assert apart < (1e-4 if alike else 0.1)


def test_every_row_has_its_fingerprint_and_its_place():
    for name in recorded():
        table, noted = trials.read(name), bench.noted([name])
        assert not table.duplicated(trials.KEYS).any()
        for row in table.itertuples():
            assert (name, row.trial, row.variant) in noted
            assert row.steps in bench.trials_of(name)[row.trial].budgets


# --- real sets --------------------------------------------------------------------


@pytest.fixture
def real_house(house, monkeypatch):
    """The house with a chapter on two real sets, of which hc18 is in place."""
    variants, fixed = {"U": dict(lr=5e-3)}, dict(budgets=(250,))
    for name in ("hc18", "camvid"):
        trial = trials.Trial(f"09_x/{name}", variants, needs=name, **fixed)
        house["book"].setdefault("09_x", {})[name] = trial
    monkeypatch.setattr(bench.real, "ready", lambda name: name == "hc18")
    return house


def test_bench_leaves_real_sets_to_those_who_ask(real_house, monkeypatch):
    run(monkeypatch)
    assert "09_x" not in {job["chapter"] for job in real_house["done"]}
    assert not (trials.RECORDS / "09_x.csv").exists()


def test_what_is_in_place_is_recorded_and_what_lacks_is_named(
    real_house, monkeypatch, capsys
):
    assert run(monkeypatch, "09") == 1
    assert "camvid is not in place: python -m helpers.app.real fetch camvid" in (
        capsys.readouterr().out
    )
    assert set(trials.read("09_x").trial) == {"hc18"}
    assert len(trials.read("09_x")) == 5


def test_one_set_alone(real_house, monkeypatch):
    assert run(monkeypatch, "09", "--set", "camvid") == 1  # it is not in place
    assert run(monkeypatch, "09", "--set", "hc18") == 0  # others need not be
    assert set(trials.read("09_x").trial) == {"hc18"}
    monkeypatch.setattr(bench.real, "ready", lambda name: True)
    assert run(monkeypatch, "09", "--set", "camvid") == 0
    assert len(trials.read("09_x")) == 10
