"""From model files to a recogniser that fits the source: which networks go together, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import HeadMetadata, LstrMetadata, RtStgcnMetadata
from edge_runtime.models.session import DEVICE_MEMORY
from edge_runtime.models.zoo import HEAD_FILES, head_beside, open_model
from edge_runtime.pipeline.head import Alone, Gcn, RegionHead
from edge_runtime.pipeline.recogniser import PictureRecogniser, Recogniser, SkeletonRecogniser
from edge_runtime.streams import LstrStream, Observer, RtStgcnBatch, open_motion_stream

Content = Literal["image", "skeleton"]


@dataclass(frozen=True, slots=True)
class Models:
    """Verified files that work together: an IMFE or clip model with a head or without, or a graph network alone."""

    main: ModelFile
    head: ModelFile | None

    @property
    def content(self) -> Content:
        """What they must be fed."""
        return "skeleton" if isinstance(self.main.metadata, RtStgcnMetadata) else "image"

    @property
    def fps(self) -> float:
        """Frames a second that they were trained at."""
        return self.main.metadata.fps

    @property
    def labels(self) -> tuple[str, ...]:
        """What they can recognise; nothing without a head."""
        return self._naming.labels if self._naming else ()

    @property
    def background(self) -> str | None:
        """The label that means that no action is going on; None where no label does."""
        return self._naming.background if self._naming else None

    @property
    def delay(self) -> int:
        """Steps between the moment a result speaks of and the moment it is known."""
        return self._naming.delay if self._naming else 0

    @property
    def _naming(self) -> HeadMetadata | None:
        """Of the network that names actions; None where none does."""
        metadata = (self.head or self.main).metadata
        return metadata if isinstance(metadata, HeadMetadata) else None

    def described(self) -> dict[str, Any]:
        """What the start event says of them, by role."""
        roles = {"model": self.main, "head": self.head}
        return {
            role: {
                "file": file.path.name,
                "sha256": file.sha256,
                "kind": file.metadata.kind,
                "name": file.metadata.name,
                "precision": file.metadata.precision,
            }
            for role, file in roles.items()
            if file is not None
        }


def load_models(model: str | Path, head: str | None) -> Models:
    """Load ``model`` and its head: the one named, the one beside it, or with ``none`` no head.

    Raises:
        InputError: a file cannot be used, or the two do not fit each other.
    """
    main = open_model(model)
    if isinstance(main.metadata, RtStgcnMetadata):
        if head not in (None, "none"):
            raise InputError(f"--head {head}: {main.path} is a graph network itself and takes no head")
        return Models(main, None)
    if isinstance(main.metadata, LstrMetadata):
        raise InputError(f"{main.path}: an LSTR is a head; give its IMFE with --model and this file with --head")
    if head == "none":
        return Models(main, None)
    found = head or head_beside(main.path)
    if found is None:
        raise InputError(
            f"{main.path}: no {' or '.join(HEAD_FILES)} lies beside it to name actions; "
            "give one with --head, or --head none to emit features"
        )
    head_file = open_model(found)
    _check_fit(main, head_file)
    return Models(main, head_file)


def _check_fit(main: ModelFile, head: ModelFile) -> None:
    assert not isinstance(main.metadata, HeadMetadata)
    if not isinstance(head.metadata, HeadMetadata):
        raise InputError(
            f"--head {head.path}: expected an RT-ST-GCN or LSTR, found a model of kind '{head.metadata.kind}'"
        )
    if isinstance(head.metadata, RtStgcnMetadata) and head.metadata.source != "regions":
        raise InputError(f"--head {head.path}: it takes a {head.metadata.source}, not an IMFE's regions")
    rows, columns = main.metadata.region_grid
    given = (main.metadata.feature_dim, rows * columns)
    wanted = head.metadata.input_shape
    if given != wanted:
        raise InputError(
            f"--head {head.path}: takes (channels, regions) = {wanted}, {main.path} gives {given}; "
            "take the head that was trained on this model"
        )


def check_content(taken: Content, given: Content, source: str) -> None:
    """Raises InputError where the source delivers what the models do not take."""
    if taken == given:
        return
    if given == "image":
        raise InputError(f"the model takes a skeleton, {source} delivers pictures; give --skeleton FILE")
    raise InputError(f"the model takes pictures, {source} delivers a skeleton; give a skeleton model")


def load_fallback(model: str | Path, main: Models) -> Models:
    """The smaller models that policy ``degrade`` may turn to, with the head beside them, or else the one of ``main``.

    Raises:
        InputError: they cannot be used, or do not answer as ``main`` does: same input, frame rate and labels.
    """
    models = Models(open_model(model), None)
    if models.content == "image":
        path = main.head and (head_beside(models.main.path) or main.head.path)
        models = load_models(model, str(path) if path else "none")
    for what, own, wanted in (
        ("input", models.content, main.content),
        ("frame rate", models.fps, main.fps),
        ("labels", sorted(models.labels), sorted(main.labels)),
    ):
        if own != wanted:
            raise InputError(f"--fallback-model {model}: its {what} must be the main model's, {wanted}; found {own}")
    return models


def open_recogniser(
    models: Models,
    *,
    observe: Observer,
    hop: int | None = None,
    threads: int = 1,
    provider: str = "cpu",
    spin: bool = False,
    lanes: int = 1,
) -> tuple[Recogniser, dict[str, str]]:
    """The recogniser of ``models``, and the provider that each stage really runs on.

    Raises:
        InputError: onnxruntime refuses a model, or an option is out of the model's range.
    """
    # A graph network's step is 20 MMAC in 60 small operators: launching them on a GPU takes longer than a core computes
    # them, and its one thread has nobody to wait for.
    graph_options: dict[str, Any] = {"provider": "cpu" if provider in DEVICE_MEMORY else provider, "observer": observe}
    metadata = models.main.metadata
    if isinstance(metadata, RtStgcnMetadata):
        if hop not in (None, 1):
            raise InputError(f"--hop {hop}: a skeleton model gives a result for every sample; leave the option out")
        ran: dict[str, str] = {}

        def make_gcn(bodies: int) -> RtStgcnBatch:
            gcn = RtStgcnBatch(models.main, bodies, **graph_options)
            ran.update(gcn.providers)
            return gcn

        return SkeletonRecogniser(make_gcn, metadata), ran
    assert not isinstance(metadata, LstrMetadata)  # load_models refuses it
    period = _period(models)
    if hop is None and period is not None:
        hop = max((own for own in metadata.hops if period % own == 0), default=None)
    imfe = open_motion_stream(
        models.main, hop=hop, threads=threads, provider=provider, spin=spin, lanes=lanes, observer=observe
    )
    providers = dict(imfe.providers)
    head: tuple[RegionHead, HeadMetadata] | None = None
    if models.head is not None and period is not None:
        if max(period, imfe.hop) % min(period, imfe.hop):
            raise InputError(
                f"--hop {imfe.hop}: {models.head.path} was trained on clips {period} frames apart; "
                "give a divisor or a multiple of it"
            )
        heads = [_open_head(models.head, graph_options) for _ in range(max(1, period // imfe.hop))]
        gcns: list[Gcn] = [Alone(one) if isinstance(one, LstrStream) else one for one in heads]
        head = (RegionHead(gcns, heads[0].metadata.input_shape, period), heads[0].metadata)
        head[0].run_at(imfe.hop)
        providers.update(heads[0].providers)
    return PictureRecogniser(imfe, metadata, head, observe=observe), providers


def _open_head(file: ModelFile, options: dict[str, Any]) -> RtStgcnBatch | LstrStream:
    return LstrStream(file, **options) if isinstance(file.metadata, LstrMetadata) else RtStgcnBatch(file, 1, **options)


def _period(models: Models) -> int | None:
    """Frames from one clip to the next in the training of the head; None without one."""
    return None if models.head is None else max(1, round(models.fps / models.head.metadata.fps))
