"""Where a token stands: rotary angles and fixed sinusoids."""

import jax
import jax.numpy as jnp


def rotary_angles(positions_BxT: jax.Array, rotary_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of the rotary angles m theta^(-2i/R) (Su et al. 2021, equation 15).

    Args:
      positions_BxT: integer positions m inside each document.
      rotary_dim: R, the number of rotated features of a head.
      theta: the base of the frequencies.

    Returns:
      two arrays [B, T, R / 2].
    """
    frequencies_R = theta ** (-jnp.arange(0, rotary_dim, 2, dtype=jnp.float32) / rotary_dim)
    angles_BxTxR = positions_BxT.astype(jnp.float32)[:, :, None] * frequencies_R[None, None, :]
    return jnp.cos(angles_BxTxR), jnp.sin(angles_BxTxR)


def rotate(x_BxTxHxQ: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates feature i against feature i + R/2 of the first R features of each head (the layout of GPT-NeoX).

    Pairing neighbours instead, as the paper draws it, is the same model up to a permutation of the query and key kernels.
    """
    cosines, sines = (angle[:, :, None, :] for angle in angles)
    half = cosines.shape[-1]
    first, second, rest = x_BxTxHxQ[..., :half], x_BxTxHxQ[..., half : 2 * half], x_BxTxHxQ[..., 2 * half :]
    return jnp.concatenate([first * cosines - second * sines, second * cosines + first * sines, rest], axis=-1)


def sinusoids(positions_BxT: jax.Array, width: int) -> jax.Array:
    """Fixed position vectors (Vaswani et al. 2017, section 3.5): even features sin, odd features cos.

    Returns:
      [B, T, width].
    """
    frequencies = 10_000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = positions_BxT.astype(jnp.float32)[:, :, None] * frequencies[None, None, :]
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return pairs.reshape(*positions_BxT.shape, width)
