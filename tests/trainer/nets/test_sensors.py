"""What the sensor streams show: a lift beside standing still, whatever the sensors' own errors, and either gain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_runtime.errors import InputError
from trainer.nets.sensors import SensorConfig, SensorStreams

G, TURN, NODES = 16384.0, 2000.0, 6
LIFT, SPEED, TURNS, LOG_TURNS = 0, 1, slice(5, 8), slice(13, 16)


def standing(frames: int, gain: float = 1.0) -> torch.Tensor:
    """(1, L, V, 6) of sensors whose acceleration reads ``gain`` times too large."""
    x = torch.zeros(1, frames, NODES, 6)
    x[..., 1] = G * gain
    return x


def ride(gain: float = 1.0, up: bool = True) -> torch.Tensor:
    """A lift that starts at frame 450 and stops at frame 550."""
    x = standing(700, gain)
    x[:, 450:480] *= 1.08 if up else 0.92
    x[:, 550:580] *= 0.92 if up else 1.08
    return x


def streams(x: torch.Tensor, lift_gain: float = 1.0) -> torch.Tensor:
    """(L, streams) of the first node."""
    config = SensorConfig(G, TURN, rest_frames=400, lift_gain=lift_gain, lift_windows=(200,))
    return SensorStreams(config)(x)[0, :, 0]


@pytest.mark.parametrize("gain", [0.97, 1.0, 1.03])
def test_a_lift_shows_beside_the_sensors_own_error(gain: float) -> None:
    lift = streams(ride(gain))[:, LIFT]
    assert lift[300:450].abs().max() < 0.002
    assert lift[451:479].min() > 0.04


@pytest.mark.parametrize("up", [True, False])
def test_the_speed_tells_going_up_from_going_down_until_the_lift_stops(up: bool) -> None:
    speed = streams(ride(up=up))[:, SPEED] * (1 if up else -1)
    assert speed[480:550].min() > 1.0
    assert speed[580:640].abs().max() < 0.5 * speed[500]


def test_a_rest_level_that_is_slightly_wrong_sums_up_to_nothing() -> None:
    x = standing(700)
    x[:, 500:] *= 1.003
    assert streams(x)[:, SPEED].abs().max() < 0.05


def test_the_rest_level_follows_a_sensor_that_changes() -> None:
    lift = streams(torch.cat([standing(500, 1.0), standing(500, 1.05)], dim=1))[:, LIFT]
    assert lift[505] > 0.02
    assert lift[-1].abs() < 0.002


def test_a_sensor_that_turns_or_is_lost_does_not_spoil_what_the_others_feel() -> None:
    x = ride()
    x[:, 440:, 2, 3:] = 2 * TURN
    x[:, 440:, 2, 1] *= 1.5
    x[:, :, 4] = 0
    lift = streams(x)[:, LIFT]
    assert lift[300:450].abs().max() < 0.01
    assert lift[451:479].min() > 0.03


def test_the_lift_stream_is_amplified_as_configured() -> None:
    torch.testing.assert_close(streams(ride(), 4.0)[:, LIFT], 4 * streams(ride())[:, LIFT])


def test_a_rate_of_turn_of_either_gain_stays_in_range_and_keeps_its_sign() -> None:
    x = standing(10)
    rates = torch.tensor([0.0, 300.0, -3000.0, 32767.0])
    x[0, :4, 0, 4] = rates
    out = streams(x)
    assert out.shape == (10, SensorConfig(G, TURN, 400, lift_windows=(200,)).streams)
    assert out[:, TURNS].abs().max() <= 1
    np.testing.assert_array_equal(np.sign(out[:4, TURNS][:, 1].numpy()), np.sign(rates.numpy()))
    assert out[3, LOG_TURNS].max() < 3


def test_lift_windows_are_optional_and_at_least_a_frame() -> None:
    assert SensorConfig(G, TURN, 400).memories == ((2, 400),)
    with pytest.raises(InputError, match="positive"):
        SensorConfig(G, TURN, 400, lift_windows=(0,))
