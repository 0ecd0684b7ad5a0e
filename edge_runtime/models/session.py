"""The one place that makes onnxruntime sessions: from bytes, with our options, saying what actually runs."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _ort_errors

from edge_runtime.errors import InputError

log = logging.getLogger(__name__)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "acl": "ACLExecutionProvider",
}
# Providers that compute in a device's own memory, by the name of that memory. A tensor of ours is copied there when
# bound, not when run; state that stays there between steps (``Session.empty``) is bound once, like memory of ours.
DEVICE_MEMORY = {"cuda": "cuda", "tensorrt": "cuda"}

# Tried by ``auto``, in this order, where this onnxruntime has them. TensorRT is not: it builds an engine for minutes.
_AUTO = ("cuda", "cpu")

# what onnxruntime raises on a model it cannot open or run
ORT_ERRORS: tuple[type[Exception], ...] = (
    _ort_errors.Fail,
    _ort_errors.EPFail,
    _ort_errors.EngineError,
    _ort_errors.InvalidArgument,
    _ort_errors.InvalidGraph,
    _ort_errors.InvalidProtobuf,
    _ort_errors.NoModel,
    _ort_errors.NotImplemented,
    _ort_errors.RuntimeException,
    RuntimeError,
    UnicodeDecodeError,  # a damaged name in its message
)


def best_provider() -> str:
    """A GPU where this build of onnxruntime can use one, else the processor. Whether one is there shows on opening."""
    return next(name for name in _AUTO if PROVIDERS[name] in ort.get_available_providers())


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Session:
    """An open session; ``provider`` is what it runs on, which a fall-back may have changed."""

    ort: ort.InferenceSession
    provider: str

    def empty(self, shape: tuple[int, ...]) -> ort.OrtValue:
        """A float32 tensor of zeros (of anything on a device) in the memory where this session computes."""
        device = DEVICE_MEMORY.get(self.provider)
        if device is None:
            return tensor(np.zeros(shape, np.float32))
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)

    def shape(self, name: str) -> tuple[int, ...]:
        """Static shape of an input or output; a symbolic dimension is 0."""
        value = next(v for v in (*self.ort.get_inputs(), *self.ort.get_outputs()) if v.name == name)
        return tuple(dim if isinstance(dim, int) else 0 for dim in value.shape)

    def settle(self) -> None:
        """Run once on zeros, shapes being static, and give back what the first run alone takes.

        It allocates one tensor after the other; the later ones lay them out in a single block, beside what that left.
        """
        options = ort.RunOptions()
        if self.provider not in DEVICE_MEMORY:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        zeros = {
            value.name: np.zeros(self.shape(value.name), np.uint8 if value.type == "tensor(uint8)" else np.float32)
            for value in self.ort.get_inputs()
        }
        self.ort.run(None, zeros, options)


# Open sessions by what they were made of. A session holds weights and no state, and may run on several threads at
# once: the cameras of a site, and the networks that take turns in one run, share it.
_shared: WeakValueDictionary[tuple[bytes, int, str, bool], Session] = WeakValueDictionary()
_sharing = threading.Lock()


def open_session(
    data: bytes, *, threads: int = 1, provider: str = "cpu", spin: bool = False, name: str = "model"
) -> Session:
    """A session on ``provider``, on the CPU where that provider is not installed or refuses the model (logged).

    The same bytes and options give the same session for as long as somebody holds it.

    Args:
        data: a serialised model.
        threads: threads inside one operator; operators follow each other.
        provider: a key of ``PROVIDERS``.
        spin: idle threads wait for work in a loop, a little sooner there and never asleep: for devices on mains.
        name: of the model or stage, for messages.

    Raises:
        InputError: unknown provider, no thread, or a model that onnxruntime refuses.
    """
    key = (hashlib.sha256(data).digest(), threads, provider, spin)
    with _sharing:
        session = _shared.get(key)
        if session is None:
            session = _shared[key] = _open_session(data, threads, provider, spin, name)
    return session


def _open_session(data: bytes, threads: int, provider: str, spin: bool, name: str) -> Session:
    if provider not in PROVIDERS:
        raise InputError(f"provider '{provider}': expected one of {', '.join(PROVIDERS)}")
    if threads < 1:
        raise InputError(f"threads: expected at least 1, found {threads}")
    if PROVIDERS[provider] not in ort.get_available_providers():
        log.warning("provider %s is not in this onnxruntime build; %s runs on the CPU", provider, name)
        provider = "cpu"
    if provider != "cpu":
        try:
            session = _open(data, threads, provider, spin)
        except ORT_ERRORS as error:
            log.warning("provider %s refused %s (%s); it runs on the CPU", provider, name, _first_line(error))
            provider = "cpu"
        else:
            ran = _short_name(session.get_providers()[0])
            return Session(session, ran)
    try:
        return Session(_open(data, threads, "cpu", spin), "cpu")
    except ORT_ERRORS as error:
        raise InputError(f"{name}: onnxruntime refuses the model: {_first_line(error)}") from None


def _open(data: bytes, threads: int, provider: str, spin: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Idle worker threads otherwise spin and take the core from capture and sinks (184 % -> 0.4 % of a core at 6 Hz).
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    # Shapes never change, so the memory pattern lets one arena block hold all inner tensors: no growth over months.
    options.enable_mem_pattern = True
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3  # errors come back as exceptions; warnings of the optimiser are not for users
    names = [PROVIDERS[provider]] if provider == "cpu" else [PROVIDERS[provider], PROVIDERS["cpu"]]
    with _file_in_memory(data) as path:
        # its own fall-back prints to stdout, where results may go, and retries; ours is in open_session
        return ort.InferenceSession(path, options, providers=names, enable_fallback=0)


@contextmanager
def _file_in_memory(data: bytes) -> Iterator[str]:
    """The path of a file on no disk: bytes it is given, a session keeps for good (102 MB of the published IMFE)."""
    with os.fdopen(os.memfd_create("model"), "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _short_name(provider: str) -> str:
    return next((short for short, full in PROVIDERS.items() if full == provider), provider)


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or ["no reason given"])[0]
    return re.sub(r"Load model from \S+ failed: ?", "", line)[:200]  # the path is none of the user's


class Binding:
    """Inputs and outputs of a session bound to memory of ours: a run copies and allocates nothing.

    ``bind_input`` and ``bind_output`` point a name at a tensor made by ``tensor``; they hold until bound anew.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._io = session.ort.io_binding()
        self._device = DEVICE_MEMORY.get(session.provider)
        self._copied: dict[str, ort.OrtValue] = {}  # inputs that the device copies when bound: bound anew every run

    def bind_input(self, name: str, value: ort.OrtValue) -> None:
        if self._device is not None and value.device_name() != self._device:
            self._copied[name] = value
        else:
            self._io.bind_ortvalue_input(name, value)

    def bind_output(self, name: str, value: ort.OrtValue) -> None:
        self._io.bind_ortvalue_output(name, value)

    def run(self) -> None:
        """Run once on what is bound."""
        for name, value in self._copied.items():
            self._io.bind_ortvalue_input(name, value)
        self._session.ort.run_with_iobinding(self._io)


def tensor(array: npt.NDArray[np.generic]) -> ort.OrtValue:
    """An onnxruntime tensor on the memory of a C-contiguous array, which it keeps alive."""
    return ort.OrtValue.ortvalue_from_numpy(array)
