"""scripts/compare.py: who is asked when, what the figures say, and two processes that really measure."""

import pytest
from scripts_of_the_tree import script

from vfi_kernels.bench.jobs import plan

compare = script("compare")
JOBS = plan(op=["backward_warp-border"], shape=["1x3x8x8"], threads=[1])


def told(times):
    """A side that answers with these times, one after another, and notes when it is asked."""
    left = list(times)

    def measure(job):
        asked.append(measure)
        return left.pop(0)

    return measure


asked = []


def test_the_sides_take_turns():
    asked.clear()
    base, head = told([1.0, 2.0, 3.0]), told([2.0, 4.0, 6.0])
    ((job, pairs),) = compare.take_turns(JOBS, base, head, 3)
    assert (job, pairs) == (JOBS[0], [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)])
    assert asked == [base, head, head, base, base, head]


@pytest.mark.parametrize(
    ("head", "word"),
    [([2.0, 2.2], "slower"), ([0.5, 0.6], "faster"), ([0.9, 1.1], "within noise"), ([1.0, 1.2], "within noise")],
)
def test_a_verdict_needs_every_turn(head, word):
    pairs = list(zip([1.0, 1.0], head))
    said = compare.line(JOBS[0], pairs)
    assert f"  {word}  " in said and f"{head[0]:.2f} to {head[1]:.2f}" in said and str(JOBS[0]) in said


def test_the_mean_is_that_of_ratios():
    rows = [(JOBS[0], [(1.0, 2.0)]), (JOBS[0], [(4.0, 2.0)]), (JOBS[0], "no such op")]
    assert compare.report(rows, "v1").startswith(" 1.00  geometric mean of 2 rows")
    assert compare.report(rows[2:], "v1") == "nothing could be compared with v1"


def test_what_one_side_lacks_is_told():
    def lacks(job):
        raise compare.NotThere("KeyError: 'scale'")

    ((job, reason),) = compare.take_turns(JOBS, lacks, told([1.0]), 1)
    assert compare.line(job, reason).endswith("not compared, because KeyError: 'scale'")


def test_list_builds_nothing(capsys, monkeypatch):
    monkeypatch.setattr(compare, "build", None)
    assert compare.main(["--op", "splat", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and all(text.startswith("splat-") for text in lines)
    for wrong in (["--op", "nothing"], ["--rounds", "0"]):
        assert compare.main(wrong) == 2
        assert capsys.readouterr().err.startswith(f"compare: expected {wrong[0]} ")


def test_a_commit_that_is_not_there_is_told(capfd):
    assert compare.main(["--op", "splat", "--base", "no-such-commit"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert "no-such-commit" in lines[0] and lines[-1].startswith("compare: git ") and lines[-1].endswith(" failed")


@pytest.mark.slow
def test_two_processes_measure():
    sides = [compare.Side(compare.ROOT) for _ in range(2)]
    ((_, pairs),) = compare.take_turns(JOBS, *sides, 2)
    assert len(pairs) == 2 and all(0 < ms < 1000 for pair in pairs for ms in pair)
    unknown = JOBS[0].__class__(**{**vars(JOBS[0]), "case": "scale"})
    with pytest.raises(compare.NotThere, match="scale"):
        sides[0](unknown)
    for side in sides:
        side.close()
        assert side.process.returncode == 0


def test_another_commit_has_a_folder_for_a_while():
    with compare.worktree("HEAD") as tree:
        assert (tree / "setup.py").exists() and tree != compare.ROOT
    assert not tree.exists()


def counts_of(instructions, kernel="scatter", **bounds):
    """The rows of a call of one kernel."""
    row = {"instructions_per_pixel": instructions, "bytes_ratio": 1.5, "bound_us": {"H100": 2.0, **bounds}}
    return [{**row, "kernel": kernel}, {**row, "kernel": "all"}]


def test_counts_that_changed_are_told():
    before = {(name, "a", False): counts_of(10) for name in ("splat", "warp", "corr", "lora", "only here")}
    after = {
        ("splat", "a", False): counts_of(20, H100=3.0),
        ("warp", "a", False): counts_of(10),
        ("corr", "a", False): counts_of(12),
        ("lora", "a", False): counts_of(5, "gather", H100=1.0),
    }
    slower, more, faster, rest = compare.changes(before, after)
    text = "10 -> 20 instructions/px; 2 -> 3 us at least on H100"
    assert slower == ("slower", f"slower             splat a: {text}\n  scatter: {text}")
    assert more[0] == "more instructions"
    assert faster[0] == "faster" and faster[1].endswith("\n  scatter: runs no more\n  gather: is new")
    assert rest == ("", "1 calls are the same; 1 are of one side only")


@pytest.mark.parametrize(("us", "code"), [(2.0, 0), (2.005, 0), (2.2, 1), (1.0, 0)])
def test_a_slower_kernel_is_an_exit_code(us, code, monkeypatch, capsys, tmp_path):
    sides = iter([{("splat", True): counts_of(10)}, {("splat", True): counts_of(11, H100=us)}])
    monkeypatch.setattr(compare, "build", lambda tree: None)
    monkeypatch.setattr(compare, "counted", lambda *_: next(sides))
    assert compare.simulate_both(tmp_path, compare.parse(["--base", "HEAD", "--simulate"])) == code
    assert "10 -> 11 instructions/px" in capsys.readouterr().out
