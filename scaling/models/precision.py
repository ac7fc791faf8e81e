"""The one place where the compute dtype applies: matrix products.

Parameters, activations between products, softmax and losses are float32. A product casts its two inputs to the compute dtype and accumulates in
float32, in the backward pass too: JAX's own transposition rule would multiply a float32 cotangent by a bfloat16 matrix and round the
result to bfloat16, which is slower on CPU and loses the accumulation's precision.
"""

import functools
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

ComputeDtype: TypeAlias = Literal["float32", "bfloat16"]


def product(subscripts: str, a: jax.Array, b: jax.Array, compute_dtype: ComputeDtype) -> jax.Array:
    """einsum of two arrays rounded to the compute dtype, accumulated in and returned as float32.

    Not for differentiation (see :func:`contract`). "float32" means true float32 on accelerators too: no TF32, no bfloat16 passes.
    """
    return jnp.einsum(
        subscripts,
        a.astype(compute_dtype),
        b.astype(compute_dtype),
        precision=jax.lax.Precision.HIGHEST if compute_dtype == "float32" else None,
        preferred_element_type=jnp.float32,
    )


def contract(subscripts: str, a: jax.Array, b: jax.Array, compute_dtype: ComputeDtype) -> jax.Array:
    """:func:`product` with a gradient whose products have the same form.

    Args:
      subscripts: explicit two-operand einsum ("nd,df->nf") in which every index occurs in two of the three terms.
      a, b: float32 operands.
      compute_dtype: of the products.
    """
    if compute_dtype == "float32":
        return product(subscripts, a, b, compute_dtype)
    return _contract_rounded(subscripts, compute_dtype, a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _contract_rounded(subscripts: str, compute_dtype: ComputeDtype, a: jax.Array, b: jax.Array) -> jax.Array:
    return product(subscripts, a, b, compute_dtype)


def _contract_forward(subscripts: str, compute_dtype: ComputeDtype, a: jax.Array, b: jax.Array):
    # The rounded operands are kept, at half the memory of the float32 ones.
    a, b = a.astype(compute_dtype), b.astype(compute_dtype)
    return product(subscripts, a, b, compute_dtype), (a, b)


def _contract_backward(subscripts: str, compute_dtype: ComputeDtype, kept, gradient: jax.Array):
    a, b = kept
    operands, result = subscripts.split("->")
    a_indices, b_indices = operands.split(",")
    return (
        product(f"{result},{b_indices}->{a_indices}", gradient, b, compute_dtype),
        product(f"{a_indices},{result}->{b_indices}", a, gradient, compute_dtype),
    )


_contract_rounded.defvjp(_contract_forward, _contract_backward)
