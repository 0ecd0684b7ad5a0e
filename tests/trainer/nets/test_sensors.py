"""What the sensor streams show: a lift beside standing still, whatever the sensor's own error, and either gain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.nets.sensors import STREAMS, SensorConfig, SensorStreams

G, TURN = 16384.0, 2000.0
LIFT, TURNS, LOG_TURNS = 0, slice(4, 7), slice(12, 15)


def standing(frames: int, gain: float = 1.0) -> torch.Tensor:
    """(1, L, 1, 6) of a sensor whose acceleration reads ``gain`` times too large."""
    x = torch.zeros(1, frames, 1, 6)
    x[..., 1] = G * gain
    return x


def streams(x: torch.Tensor, lift_gain: float = 1.0) -> torch.Tensor:
    return SensorStreams(SensorConfig(G, TURN, rest_frames=400, lift_gain=lift_gain))(x)[0, :, 0]


@pytest.mark.parametrize("gain", [0.97, 1.0, 1.03])
def test_a_lift_shows_beside_the_sensors_own_error(gain: float) -> None:
    x = standing(600, gain)
    x[:, 450:510] *= 1.06  # 60 ms² of a lift that starts upwards
    lift = streams(x)[:, LIFT]
    assert lift[300:450].abs().max() < 0.02
    assert lift[460:500].min() > 0.4


def test_the_rest_level_follows_a_sensor_that_changes() -> None:
    x = torch.cat([standing(500, 1.0), standing(500, 1.02)], dim=1)
    lift = streams(x)[:, LIFT]
    assert lift[505] > 0.15
    assert lift[-1].abs() < 0.02


def test_the_lift_stream_is_amplified_as_configured() -> None:
    x = standing(200)
    x[:, 150:] *= 1.05
    torch.testing.assert_close(streams(x, 4.0)[:, LIFT], 4 * streams(x)[:, LIFT])


def test_a_rate_of_turn_of_either_gain_stays_in_range_and_keeps_its_sign() -> None:
    x = standing(10)
    rates = torch.tensor([0.0, 300.0, -3000.0, 32767.0])
    x[0, :4, 0, 4] = rates
    out = streams(x)
    assert out.shape == (10, STREAMS)
    assert out[:, TURNS].abs().max() <= 1
    np.testing.assert_array_equal(np.sign(out[:4, TURNS][:, 1].numpy()), np.sign(rates.numpy()))
    assert out[3, LOG_TURNS].max() < 3
