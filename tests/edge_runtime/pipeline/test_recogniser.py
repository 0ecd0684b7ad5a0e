"""Frames to opinions: which moment an opinion speaks of, whose it is, and what is forgotten when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime.errors import InputError
from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import RtStgcnLayer
from edge_runtime.pipeline.assembly import Models, check_content, load_fallback, load_models, open_recogniser
from edge_runtime.pipeline.head import Opinion, softmax
from edge_runtime.pipeline.recogniser import ABSENT_S, Recogniser, event_of
from edge_runtime.sources.base import Frame
from edge_runtime.streams.observer import ignore
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallImfe, SmallLstr

FPS = 30.0


def pictures(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, 32, 48, 3), np.uint8)


def frame(index: int, data: npt.NDArray[np.generic]) -> Frame:
    return Frame(data, index, index / FPS, 0)  # type: ignore[arg-type]


def save_head(path: Path, *, delay: int = 0, in_channels: int = 7, nodes: int = 6, hop: int = 6) -> Path:
    """A graph network that was trained on clips ``hop`` frames apart."""
    layers = (
        RtStgcnLayer(in_channels, 6, taps=4, dilation=1, residual_delay=delay),
        RtStgcnLayer(6, 6, taps=3, dilation=2),
    )
    gcn = SmallGcn.make(layers, nodes=nodes, in_channels=in_channels)
    return replace(gcn, metadata=replace(gcn.metadata, source="regions", fps=FPS / hop)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SmallImfe.make().save(tmp_path / "imfe.onnx")
    save_head(tmp_path / "rtstgcn.onnx")
    SmallLstr.make(fps=FPS / 6).save(tmp_path / "lstr.onnx")
    return tmp_path


def opened(models: Models, hop: int | None = None) -> Recogniser:
    return open_recogniser(models, observe=ignore, hop=hop)[0]


def run(recogniser: Recogniser, frames: list[Frame]) -> list[Opinion]:
    return [opinion for item in frames for opinion in recogniser.step(item)]


def test_a_clips_opinion_speaks_of_its_last_frame(folder: Path) -> None:
    recogniser = opened(load_models(folder / "imfe.onnx", None), hop=3)
    found = run(recogniser, [frame(i, image) for i, image in enumerate(pictures(15))])
    assert [opinion.frame for opinion in found] == [5, 8, 11, 14]
    assert [opinion.t for opinion in found] == [i / FPS for i in (5, 8, 11, 14)]


def test_scores_are_those_of_the_two_networks_in_a_row(folder: Path) -> None:
    """Shows that colour order, clip and regions reach the graph network as it was trained on them."""
    images = pictures(36)
    recogniser = opened(load_models(folder / "imfe.onnx", None))
    found = run(recogniser, [frame(i, image) for i, image in enumerate(images)])
    rgb = images[..., ::-1]
    regions = np.stack([SmallImfe.make().clip(rgb[start : start + 6])[1] for start in range(0, 36, 6)])
    layers = (RtStgcnLayer(7, 6, taps=4, dilation=1), RtStgcnLayer(6, 6, taps=3, dilation=2))
    logits = SmallGcn.make(layers, nodes=6, in_channels=7).offline(regions)
    expected = [softmax(row.astype(np.float32)) for row in logits]
    assert np.allclose([opinion.scores for opinion in found], expected, atol=1e-4)


def test_with_a_longer_hop_the_graph_network_keeps_its_clock(folder: Path) -> None:
    """Shows that a clip of a doubled hop counts as two steps, and that at the hop asked for it is one again."""
    seen: list[str] = []
    recogniser, _ = open_recogniser(load_models(folder / "imfe.onnx", None), observe=seen.append)
    steps = []
    for hop in (6, 12, 24, 6):
        recogniser.run_at(hop)
        seen.clear()
        opinions = run(recogniser, [frame(i, image) for i, image in enumerate(pictures(6))])
        assert len(opinions) == 1
        steps.append(seen.count("rtstgcn"))
    assert steps == [1, 2, 4, 1]


def test_a_delayed_network_speaks_of_the_past_and_flush_tells_the_rest(tmp_path: Path) -> None:
    """Shows that every step has its opinion, about the moment of that step."""
    SmallImfe.make().save(tmp_path / "imfe.onnx")
    save_head(tmp_path / "rtstgcn.onnx", delay=2, hop=1)
    recogniser = opened(load_models(tmp_path / "imfe.onnx", None))
    assert recogniser.hop == 1, "the hop that the head was trained at"
    steps = [frame(i, image) for i, image in enumerate(pictures(12))]
    found = run(recogniser, steps)
    assert [opinion.frame for opinion in found] == [5, 6, 7, 8, 9]
    assert [opinion.frame for opinion in recogniser.flush()] == [10, 11]


@pytest.mark.parametrize("delay", [0, 1])
def test_results_between_the_trained_ones_see_the_action_at_its_speed(tmp_path: Path, delay: int) -> None:
    """Shows that at hop 2, three times as often as trained, every third result is one of hop 6."""
    SmallImfe.make().save(tmp_path / "imfe.onnx")
    save_head(tmp_path / "rtstgcn.onnx", delay=delay)
    models = load_models(tmp_path / "imfe.onnx", None)
    steps = [frame(i, image) for i, image in enumerate(pictures(48))]
    often, trained = opened(models, hop=2), opened(models)
    every = run(often, steps) + often.flush()
    wanted = run(trained, steps) + trained.flush()
    assert [opinion.frame for opinion in every] == list(range(5, 48, 2))
    third = {opinion.frame: opinion.scores for opinion in every}
    assert all(np.allclose(third[opinion.frame], opinion.scores, atol=1e-5) for opinion in wanted)  # type: ignore[arg-type]


def test_a_longer_hop_leaves_a_second_a_second(folder: Path) -> None:
    """Shows that at twice the trained hop each clip is two steps, and one opinion."""
    recogniser = opened(load_models(folder / "imfe.onnx", None))
    recogniser.run_at(12)
    images = pictures(12)
    (first,) = run(recogniser, [frame(i, image) for i, image in enumerate(images[:6])])
    (again,) = run(
        opened(load_models(folder / "imfe.onnx", None)), [frame(i, image) for i, image in enumerate(images[:6])]
    )
    assert first.frame == again.frame
    assert not np.allclose(first.scores, again.scores)  # type: ignore[arg-type]


def test_a_hop_that_no_multiple_of_makes_the_trained_one_is_refused(tmp_path: Path) -> None:
    SmallImfe.make().save(tmp_path / "imfe.onnx")
    save_head(tmp_path / "rtstgcn.onnx", hop=3)
    with pytest.raises(InputError, match="clips 3 frames apart"):
        opened(load_models(tmp_path / "imfe.onnx", None), hop=2)


def test_a_stream_shorter_than_the_delay_is_told_by_flush_alone(tmp_path: Path) -> None:
    SmallImfe.make().save(tmp_path / "imfe.onnx")
    save_head(tmp_path / "rtstgcn.onnx", delay=3)
    recogniser = opened(load_models(tmp_path / "imfe.onnx", None))
    assert run(recogniser, [frame(i, image) for i, image in enumerate(pictures(6))]) == []
    assert [opinion.frame for opinion in recogniser.flush()] == [5]


@pytest.mark.parametrize("head", ["rtstgcn.onnx", "lstr.onnx"])
def test_after_a_reset_nothing_of_the_past_is_left(folder: Path, head: str) -> None:
    recogniser = opened(load_models(folder / "imfe.onnx", str(folder / head)))
    clip = [frame(i, image) for i, image in enumerate(pictures(6))]
    (fresh,) = run(recogniser, clip)
    run(recogniser, [frame(i, 255 - image) for i, image in enumerate(pictures(10))])
    recogniser.reset()
    (again,) = run(recogniser, clip)
    assert np.array_equal(fresh.scores, again.scores)  # type: ignore[arg-type]


def test_an_lstr_sees_clips_a_period_apart_at_any_hop(folder: Path) -> None:
    """Shows that at half the hop two LSTRs take turns: every other opinion is the one of the trained hop."""
    models = load_models(folder / "imfe.onnx", str(folder / "lstr.onnx"))
    frames = [frame(i, image) for i, image in enumerate(pictures(60))]
    usual = run(opened(models), frames)
    often = run(opened(models, hop=3), frames)
    assert [opinion.frame for opinion in often[::2]] == [opinion.frame for opinion in usual]
    for one, other in zip(usual, often[::2], strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)  # type: ignore[arg-type]


def test_without_a_head_the_feature_is_the_opinion(folder: Path) -> None:
    recogniser = opened(load_models(folder / "imfe.onnx", "none"))
    (found,) = run(recogniser, [frame(i, image) for i, image in enumerate(pictures(6))])
    assert found.scores is None
    assert event_of(found, (), 1.0).event == "features"


def test_a_longer_hop_is_taken_as_far_as_the_model_can(folder: Path) -> None:
    recogniser = opened(load_models(folder / "imfe.onnx", None), hop=2)
    recogniser.run_at(12)
    assert recogniser.hop == 6
    recogniser.run_at(4)
    assert recogniser.hop == 3


def test_a_clip_model_is_run_too(folder: Path) -> None:
    clip = SmallImfe.make().save_clip_model(folder / "clip.onnx")
    save_head(folder / "head.onnx", nodes=1)
    recogniser = opened(load_models(clip, str(folder / "head.onnx")))
    assert len(run(recogniser, [frame(i, image) for i, image in enumerate(pictures(12))])) == 2


# ---- skeletons


@pytest.fixture
def skeleton(tmp_path: Path) -> Recogniser:
    return opened(load_models(SmallGcn.make(LAYERS).save(tmp_path / "skeleton.onnx"), None))


def walks(count: int, bodies: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(2).standard_normal((count, 3, 5, bodies)).astype(np.float32)


def test_every_sample_of_a_skeleton_has_an_opinion(skeleton: Recogniser) -> None:
    samples = walks(9, 1)
    found = run(skeleton, [frame(i, sample[..., 0]) for i, sample in enumerate(samples)])
    assert [opinion.frame for opinion in found] == list(range(9))
    assert {opinion.body for opinion in found} == {None}
    expected = softmax(SmallGcn.make(LAYERS).offline(samples[..., 0])[-1].astype(np.float32))
    assert np.allclose(found[-1].scores, expected, atol=1e-4)  # type: ignore[arg-type]


def test_each_body_has_its_own_state(tmp_path: Path) -> None:
    """Shows that two bodies in one scene are seen as each would be alone."""
    models = load_models(SmallGcn.make(LAYERS).save(tmp_path / "skeleton.onnx"), None)
    samples = walks(20, 2)
    together = run(opened(models), [frame(i, sample) for i, sample in enumerate(samples)])
    for body in (0, 1):
        alone = run(opened(models), [frame(i, sample[..., body]) for i, sample in enumerate(samples)])
        own = [opinion for opinion in together if opinion.body == body]
        assert [opinion.frame for opinion in own] == [opinion.frame for opinion in alone]
        assert np.allclose([o.scores for o in own], [o.scores for o in alone], atol=1e-5)


def test_a_body_that_is_not_there_has_no_opinion_and_one_that_returns_starts_anew(tmp_path: Path) -> None:
    models = load_models(SmallGcn.make(LAYERS).save(tmp_path / "skeleton.onnx"), None)
    samples = walks(60, 2)
    away = round(ABSENT_S * FPS) + 10
    samples[:5, ..., 1] = 0  # not there yet
    samples[10 : 10 + away, ..., 1] = 0  # gone
    found = run(opened(models), [frame(i, sample) for i, sample in enumerate(samples)])
    second = [opinion for opinion in found if opinion.body == 1]
    spoken_of = {opinion.frame for opinion in second}
    held = set(range(10, 10 + round(ABSENT_S * FPS)))
    assert spoken_of.isdisjoint(range(5))
    assert held - {max(held)} <= spoken_of, "a body lost for a moment is still followed"
    assert spoken_of.isdisjoint(range(10 + away - 8, 10 + away))
    alone = run(opened(models), [frame(i, samples[i, ..., 1]) for i in range(10 + away, 60)])
    returned = [opinion for opinion in second if opinion.frame >= 10 + away]
    assert np.allclose([o.scores for o in returned], [o.scores for o in alone], atol=1e-5)


def test_samples_of_another_shape_are_refused_in_one_line(skeleton: Recogniser) -> None:
    with pytest.raises(InputError, match=r"\(channels, nodes\) = \(3, 5\), found \(2, 5\)"):
        skeleton.step(frame(0, np.zeros((2, 5), np.float32)))


def test_a_model_that_computes_nan_is_not_passed_on_as_a_score() -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        softmax(np.array([0.0, np.nan], np.float32))


def test_the_five_best_labels_are_told_best_first() -> None:
    scores = softmax(np.arange(7, dtype=np.float32))
    event = event_of(Opinion(3, 0.1, scores), "abcdefg", 2.0)
    assert event.event == "result"
    assert [label for label, _ in event.top] == ["g", "f", "e", "d", "c"]  # type: ignore[union-attr]
    assert event.label == "g"  # type: ignore[union-attr]


# ---- which models go together


def test_a_head_that_does_not_fit_is_refused(folder: Path) -> None:
    other = save_head(folder / "other.onnx", nodes=4)
    with pytest.raises(InputError, match=r"takes \(channels, regions\) = \(7, 4\)"):
        load_models(folder / "imfe.onnx", str(other))


def test_a_model_without_a_head_beside_it_says_what_to_do(tmp_path: Path) -> None:
    path = SmallImfe.make().save(tmp_path / "imfe.onnx")
    with pytest.raises(InputError, match="--head none"):
        load_models(path, None)


def test_a_skeleton_model_is_no_head_of_an_imfe(folder: Path) -> None:
    skeleton = SmallGcn.make(LAYERS).save(folder / "skeleton.onnx")
    with pytest.raises(InputError, match="not an IMFE's regions"):
        load_models(folder / "imfe.onnx", str(skeleton))
    with pytest.raises(InputError, match="takes no head"):
        load_models(skeleton, str(folder / "rtstgcn.onnx"))


def test_a_fallback_brings_its_own_head_or_takes_the_main_models(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    main = load_models(folder / "imfe.onnx", None)
    alone = tmp_path_factory.mktemp("alone")
    smaller = SmallImfe.make(seed=1).save(alone / "imfe.onnx")
    heads = [load_fallback(smaller, main).head]
    save_head(alone / "rtstgcn.onnx", delay=1)
    heads.append(load_fallback(smaller, main).head)
    assert [head and head.path for head in heads] == [folder / "rtstgcn.onnx", alone / "rtstgcn.onnx"]
    assert load_fallback(smaller, load_models(folder / "imfe.onnx", "none")).head is None


def test_a_fallback_that_answers_otherwise_is_refused(folder: Path) -> None:
    main = load_models(folder / "imfe.onnx", None)
    skeleton = SmallGcn.make(LAYERS).save(folder / "skeleton.onnx")
    with pytest.raises(InputError, match="its input must be the main model's, image; found skeleton"):
        load_fallback(skeleton, main)
    labels = SmallGcn.make(LAYERS, classes=3).save(folder / "three.onnx")
    with pytest.raises(InputError, match="its labels must be the main model's"):
        load_fallback(labels, load_models(skeleton, None))


def test_a_source_and_a_model_that_do_not_fit_are_told_apart(folder: Path) -> None:
    models = load_models(folder / "imfe.onnx", None)
    with pytest.raises(InputError, match="takes pictures"):
        check_content(models.content, "skeleton", "walk.npy")
    assert load_model(folder / "imfe.onnx").sha256 == models.described()["model"]["sha256"]
