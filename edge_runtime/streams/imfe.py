"""Streaming IMFE: each frame encoded once, each pair of frames compared once, the head once per hop.

One clip of six frames, hop 3 (E encoder, M motion, H head)::

    frame   1   2   3   4   5   6   7   8   9  10
            E   E   E   E   E   E   E   E   E   E      fmap, the previous one kept
              M   M   M   M   M   M   M   M   M        pair, bound into the pair buffer
                                H           H          features and regions of the last 6 frames

The first output comes with frame ``clip_length``, the next ones every ``hop`` frames. At hop = clip_length clips do
not overlap, and the pair that straddles two of them is never computed. A model with an RGB stream also looks at each
clip's central frame (`streams.appearance`).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edge_runtime.errors import InputError
from edge_runtime.memory import give_back, on_pages_of_its_own
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.models.session import DEVICE_MEMORY, ORT_ERRORS, Binding, Session, open_session, tensor
from edge_runtime.models.stages import cut, with_parts
from edge_runtime.models.zoo import open_model
from edge_runtime.streams.appearance import CentralFrame
from edge_runtime.streams.encoder import FrameEncoder
from edge_runtime.streams.motion import ImfeOutput, MotionStream
from edge_runtime.streams.observer import Observer, ignore, run_stage
from edge_runtime.streams.pairs import PairBuffer, PairRing, Pairs


class ImfeStream(MotionStream[ImfeMetadata]):
    """Frames in, one at a time; motion features out, every ``hop`` frames.

    Args:
        model: path or zoo name of an ``imfe.onnx``, or a model already loaded.
        hop: frames between outputs, one of ``metadata.hops``; None takes the first. Shorter means fresher results and
            one head more often; the encoder's and motion's work per frame stays.
        threads: threads inside one operator.
        provider: a key of ``edge_runtime.models.session.PROVIDERS``; ``providers`` says what actually ran.
        spin: threads that wait do so in a loop: a little sooner there, and a core that never sleeps.
        lanes: frames that may be encoded side by side: as many ``encoders``, each for a thread of its own, whose fmaps
            `follow` takes (see `streams.lanes`). Always one with an RGB stream, which needs the frames themselves.
        observer: told what each stage took.

    Raises:
        InputError: the model or an argument cannot be used.
    """

    def __init__(
        self,
        model: str | Path | ModelFile,
        *,
        hop: int | None = None,
        threads: int = 1,
        provider: str = "cpu",
        spin: bool = False,
        lanes: int = 1,
        observer: Observer | None = None,
    ) -> None:
        file = model if isinstance(model, ModelFile) else open_model(model)
        if not isinstance(file.metadata, ImfeMetadata):
            raise InputError(f"{file.path}: expected a streaming IMFE, found a model of kind '{file.metadata.kind}'")
        super().__init__(file.metadata, file.sha256, hop)
        self._observer: Observer = ignore
        try:
            with on_pages_of_its_own():
                self._open(file, threads, provider, spin, lanes)
                self._warm_up()
        except ORT_ERRORS as error:
            raise InputError(f"{file.path}: the model does not run: {str(error).splitlines()[0][:200]}") from None
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from None
        self._observer = observer or ignore
        del file
        give_back()

    def _open(self, file: ModelFile, threads: int, provider: str, spin: bool, lanes: int) -> None:
        meta = self.metadata
        lanes = 1 if meta.has_appearance else lanes
        head_input = meta.stages["head"].inputs[0]
        parts = [f"{head_input}.{i}" for i in range(meta.clip_length - 1)]

        def cut_out(name: str) -> bytes:
            model = cut(file.proto, meta.stages[name])
            if name == "head" and provider in DEVICE_MEMORY:
                model = with_parts(model, head_input, parts)
            data: bytes = model.SerializeToString()
            return data

        # one stage at a time: the published network's weights are 102 MB, and each stage's copies are dropped at once
        sessions: dict[str, Session] = {
            name: open_session(cut_out(name), threads=threads, provider=provider, spin=spin, name=f"imfe.{name}")
            for name in meta.stages
        }
        self.providers = {f"imfe.{name}": session.provider for name, session in sessions.items()}
        self._motion, self._head = (Binding(sessions[name]) for name in ("motion", "head"))

        shape = _static(sessions["encoder"], "fmap")

        def encoders(count: int, fmaps: int) -> tuple[FrameEncoder, ...]:
            turns = itertools.cycle([sessions["motion"].empty(shape) for _ in range(fmaps)])
            return tuple(FrameEncoder(sessions["encoder"], (meta.height, meta.width, 3), turns) for _ in range(count))

        (self._encode,) = encoders(1, 2)
        # as many frames in hand as lanes, two that are compared; and a lane may be overtaken by every other one
        self.encoders = encoders(lanes, 2 * lanes + 1) if lanes > 1 else ()
        pair_shape = _static(sessions["motion"], "pair")
        for session in sessions.values():
            session.settle()
        self._pairs: Pairs
        if provider in DEVICE_MEMORY:
            self._pairs = PairRing([sessions["head"].empty(pair_shape) for _ in parts], parts)
        else:
            self._pairs = PairBuffer(len(parts), pair_shape, head_input)
        self._appearance: CentralFrame | None = None
        if meta.has_appearance:
            session = sessions["appearance"]
            map_shape = _static(session, "appearance")
            self._appearance = CentralFrame(session, (meta.height, meta.width, 3), map_shape, meta.central_lag)
            self._head.bind_input("appearance", self._appearance.map)
        self._features = np.zeros((1, meta.feature_dim), np.float32)
        regions = meta.region_grid[0] * meta.region_grid[1]
        self._regions = np.zeros((1, meta.feature_dim, regions), np.float32)
        self._head.bind_output("features", tensor(self._features))
        self._head.bind_output("regions", tensor(self._regions))

    def _warm_up(self) -> None:
        """Run every stage, so that the first real frame is not the slow one and a damaged model fails here."""
        self.reset()
        grey = np.full((self.metadata.height, self.metadata.width, 3), 127, np.uint8)
        self._previous_fmap = self._fmap = self._encode(grey)
        for encode in self.encoders:
            encode(grey)
        while not self._pairs.full:
            self._compare()
        out = self._describe()
        if not (np.isfinite(out.features).all() and np.isfinite(out.regions).all()):
            raise InputError("computes no finite number from a grey clip; the file is damaged")
        self.reset()

    def step(self, frame: npt.NDArray[np.uint8]) -> ImfeOutput | None:
        """Take one frame; give the motion of the last ``clip_length`` frames when a hop is complete, else None.

        Args:
            frame: uint8 RGB ``(height, width, 3)`` at the model's size, not kept.

        Raises:
            InputError: another shape or type.
        """
        self._check(frame)
        if self._appearance is not None:
            self._appearance.keep(frame)
        return self.follow(self._encode(frame, self._observer))

    def follow(self, fmap: ort.OrtValue) -> ImfeOutput | None:
        """As ``step``, of a frame that one of ``encoders`` has encoded.

        Frames follow each other in their order, and no more than ``lanes`` beyond the next may be encoded.
        """
        self._previous_fmap, self._fmap = self._fmap, fmap
        self._seen += 1
        self._since_output += 1
        if self._seen > 1 and self._pair_is_needed():
            self._compare()
        else:
            self._pairs.clear()
        if self._since_output < self._hop or not self._pairs.full:
            if self._appearance is not None:
                self._appearance.look_ahead(self._hop - self._since_output, self._observer)
            return None
        self._since_output = 0
        return self._describe()

    def _compare(self) -> None:
        """Both fmaps -> the next pair, in its place among its clip's."""
        self._motion.bind_input("previous_fmap", self._previous_fmap)
        self._motion.bind_input("fmap", self._fmap)
        self._motion.bind_output("pair", self._pairs.next_slot())
        run_stage(self._motion, "imfe.motion", self._observer)

    def _describe(self) -> ImfeOutput:
        """The clip's pairs, and what it looks like, -> features and regions."""
        if self._appearance is not None:
            self._appearance.look(self._appearance.lag, self._observer)
        for name, value in self._pairs.window().items():
            self._head.bind_input(name, value)
        run_stage(self._head, "imfe.head", self._observer)
        return ImfeOutput(self._features[0].copy(), self._regions[0].copy())

    def _pair_is_needed(self) -> bool:
        """Whether the pair that ends at this frame is in the clip of the next output."""
        frames_to_output = self._hop - self._since_output
        return frames_to_output < self.metadata.clip_length - 1

    def reset(self) -> None:
        super().reset()
        self._pairs.clear()


def _static(session: Session, output: str) -> tuple[int, ...]:
    shape = session.shape(output)
    if not shape or min(shape) < 1:
        raise InputError(f"output '{output}' has no static shape, found {shape}; export the model again")
    return shape
