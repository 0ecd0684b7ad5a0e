"""Two heads and two streams: what finetune trains, how, and what it exports."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.engine.test_imfe_streamed import clips as clips  # the fixture
from tests.trainer.engine.test_imfe_training import LABELS, RECIPE, samples
from trainer import checkpoint
from trainer.cli import main
from trainer.data.clips import decode, find_clips, split_by_group
from trainer.engine.imfe_heads import PASSES, RememberedRegions, train_head
from trainer.engine.imfe_recogniser import HeadAlone, Recogniser
from trainer.engine.imfe_streamed import name_clip
from trainer.engine.imfe_train import Recipe, build, clip_batches, clip_scores
from trainer.nets.imfe import Imfe
from trainer.nets.lstr import Lstr

LSTR = dataclasses.replace(RECIPE, head="lstr", memory=(2, 3))
BOTH = dataclasses.replace(LSTR, imfe=dataclasses.replace(RECIPE.imfe, appearance=True))


def network(recipe: Recipe) -> Recogniser:
    torch.manual_seed(0)
    return build(recipe, LABELS, "none")


def test_training_sees_the_clips_that_a_stream_sees() -> None:
    """Shows that both forms of an IMFE with an RGB stream give each clip's regions, the central frame's among them."""
    net = network(BOTH).eval()
    video = torch.randint(0, 256, (14, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        regions, _ = net.regions([video, video[:9]])
        frames = net.imfe.normalise(video)[None]
        along = net.imfe.along(frames, net.hop)[1][0]
        alone = torch.stack([net.imfe(frames[:, t : t + 6])[1][0] for t in (0, 3, 6)])
    assert regions.shape == (3 + 2, 2 * 16, 2)
    torch.testing.assert_close(regions[:3], along, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(along, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(regions[3:], regions[:2], atol=1e-5, rtol=1e-4)


def test_the_rgb_stream_sees_the_central_frame_alone() -> None:
    net = Imfe(BOTH.imfe).eval()
    clip = torch.randn(1, 6, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    other = clip.clone()
    other[:, 2] += 1
    with torch.inference_mode():
        before, after = net(clip)[0], net(other)[0]
        assert bool((before[:, 16:] != after[:, 16:]).any())
        other = clip.clone()
        other[:, [0, 1, 3, 4, 5]] += 1
        torch.testing.assert_close(net(other)[0][:, 16:], before[:, 16:])


def test_remembered_regions_are_those_of_the_clips() -> None:
    """Shows that a pass holds what the IMFE makes of the same clips, and that an epoch takes one in another order."""
    net, data = network(LSTR), samples()
    regions = RememberedRegions(net, data, LSTR, seed=3)
    (wanted, *_) = clip_batches(data, net, LSTR, np.random.default_rng([3, 0]))
    found = regions._passes[0][0]
    with torch.inference_mode():
        expected, _ = net.eval().regions(wanted.clips)
    torch.testing.assert_close(torch.cat(list(found.clips)).float(), expected, atol=1e-2, rtol=1e-2)
    assert found.labels.tolist() == wanted.labels.tolist()
    assert len(regions._passes) == min(PASSES, LSTR.epochs)
    epoch = list(regions(np.random.default_rng(0)))
    assert any({id(batch) for batch in epoch} == {id(batch) for batch in one} for one in regions._passes)


def test_a_head_by_itself_is_the_recognisers_head() -> None:
    net = network(LSTR).eval()
    video = torch.randint(0, 256, (14, 32, 48, 3), dtype=torch.uint8)
    with torch.inference_mode():
        regions, _ = net.regions([video])
        torch.testing.assert_close(HeadAlone(net.head)([regions]).logits, net([video]).logits)


def test_training_a_head_leaves_the_imfe_as_it_was(tmp_path: Path) -> None:
    net = network(LSTR)
    before = {name: value.clone() for name, value in net.imfe.state_dict().items()}
    first = [value.clone() for value in net.head.parameters()]
    head = train_head(net, samples(), LSTR, 0, tmp_path)
    for name, value in net.imfe.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    assert any(bool((new != old).any()) for new, old in zip(head.parameters(), first, strict=True))
    assert isinstance(head, Lstr) and not head.training


@pytest.mark.slow
def test_two_streams_and_an_lstr_are_scored_by_edge_run_as_by_torch(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shows the way of the documentation: each stream by itself, then a head on both, exported and streamed."""
    common = [
        str(clips / "clips.csv"),
        "--background",
        "none",
        "--hold-out",
        "2",
        "--recipe",
        str(clips / "recipe.json"),
    ]
    motion, rgb, out = clips / "motion", clips / "rgb", clips / "both"
    assert main(["imfe", "finetune", *common, "--out", str(motion)]) == 0
    assert main(["imfe", "baseline", "appearance", *common, "--out", str(rgb)]) == 0
    init = ["--init", str(motion / "model.pt"), str(rgb / "model.pt")]
    assert (
        main(["imfe", "finetune", *common, *init, "--appearance", "--head", "lstr", "--head-only", "--out", str(out)])
        == 0
    )
    assert f"{out / 'lstr.onnx'}: within" in capsys.readouterr().out

    stored, of_motion, of_rgb = (checkpoint.load(folder / "model.pt") for folder in (out, motion, rgb))
    for origin in (of_motion["model"], of_rgb["model"]):
        for name, value in origin.items():
            torch.testing.assert_close(stored["model"][name], value, atol=0, rtol=0)
    net = build(Recipe.from_dict(stored["recipe"]), stored["labels"], "none").eval()
    net.imfe.load_state_dict(stored["model"])
    net.head.load_state_dict(stored["head"])
    _, held_out = split_by_group(find_clips(clips / "clips.csv"), ["2"])
    config = net.imfe.config
    for clip in held_out:
        named = name_clip(clip, out / "imfe.onnx")
        expected = clip_scores(net, [decode(clip.path, config.height, config.width)])[0]
        streamed = torch.tensor([dict(named.totals)[label] / named.results for label in stored["labels"]])
        torch.testing.assert_close(streamed, expected, atol=1e-4, rtol=1e-3)


def test_a_head_alone_needs_features(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["imfe", "finetune", str(clips / "clips.csv"), "--head-only", "--out", str(clips / "out")])
    assert code == 2
    assert "give their model.pt with --init" in capsys.readouterr().err
