"""Fused attention and rotary embeddings, of the standard domain and of com.microsoft.

q: (B, h, T, d)   k: (B, g, S, d)   v: (B, g, S, e)   bias: broadcasts to (B, h, T, S)
y: (B, h, T, e) = softmax(cap(scale * q k^T) + bias) v, where h/g heads of q share one of k and v

Operands of three axes, (B, T, h*d), are split in heads first, and the result is joined again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, converter
from spa.errors import BridgeError

Maybe = Tensor | None


@converter("Attention", host=(6,))
def attention(node: OpNode) -> Function:
    """Inputs q, k, v, mask, past keys, past values, and from opset 24 on how many keys count."""
    attrs = node.attrs
    causal, scale, softcap = attrs.get("is_causal", 0), attrs.get("scale"), attrs.get("softcap", 0)
    mode, counts = attrs.get("qk_matmul_output_mode", 0), ("q_num_heads", "kv_num_heads")
    left, right = attrs.get("left_window_size", -1), attrs.get("right_window_size", -1)

    def run(
        q: Tensor, k: Tensor, v: Tensor, mask: Maybe = None,
        past_k: Maybe = None, past_v: Maybe = None, filled: Maybe = None,
    ) -> Any:  # fmt: skip
        flat = q.dim() == 3
        heads = [attrs[name] for name in (counts[0], counts[1], counts[1])] if flat else [0] * 3
        q, k, v = (_split(x, h) if flat else x for x, h in zip((q, k, v), heads, strict=True))
        offset = 0
        if past_k is not None and past_v is not None:
            offset = past_k.shape[2]
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        bias = _as_bias(mask, q)
        if bias is not None and bias.shape[-1] < k.shape[2]:
            bias = torch.nn.functional.pad(bias, (0, k.shape[2] - bias.shape[-1]), value=-math.inf)
        if filled is not None:
            keys = torch.arange(k.shape[2], device=q.device)
            bias = _sum(bias, _hidden(keys < filled.to(q.device)[:, None, None, None], q))
        # How many keys come before the first query: those of the past, or of a cache that holds
        # the queries' own already.
        before = torch.tensor(offset) if filled is None else filled.cpu() - q.shape[2]
        for seen in _seen(q, k, before, 0 if causal else right, left):
            bias = _sum(bias, _hidden(seen.to(q.device), q))
        y, scores = attend(q, k, v, bias, scale, softcap, mode)
        return (_join(y) if flat else y, k, v, scores)[: max(1, len(node.outputs))]

    return run


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Maybe, scale: float | None = None,
    softcap: float = 0.0, mode: int = 0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The attention of the module's text; and its scores: 0 raw, 1 capped, 2 biased, 3 weights."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    stages = [(q * root) @ (k * root).mT]
    stages.append(softcap * torch.tanh(stages[-1] / softcap) if softcap else stages[-1])
    stages.append(stages[-1] if bias is None else stages[-1] + bias)
    weights = torch.softmax(stages[-1], -1)
    # Where nothing may be looked at, a softmax is 0/0, and runtimes give zeros.
    weights = torch.where(torch.isneginf(stages[-1]).all(-1, keepdim=True), 0, weights)
    stages.append(weights)
    return weights @ v, stages[mode]


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _as_bias(mask: Maybe, q: Tensor) -> Maybe:
    return _hidden(mask, q) if mask is not None and mask.dtype == torch.bool else mask


def _hidden(mask: Tensor, q: Tensor) -> Tensor:
    """Minus infinity where a mask is false."""
    return torch.zeros((), dtype=q.dtype, device=q.device).masked_fill(~mask, -math.inf)


def _seen(q: Tensor, k: Tensor, before: Tensor, right: int, left: int = -1) -> Iterator[Tensor]:
    """Masks of what each query sees: so many keys to its right and left; below 0, all of them.

    Args:
        q: (B, h, T, d)
        k: (B, g, S, d)
        before: keys before the first query, () or (B,).
        right: how many keys behind its own place a query sees.
        left: how many before it.
    """
    place = torch.arange(q.shape[2]) + before.reshape(-1, 1)
    rows, keys = place[:, None, :, None], torch.arange(k.shape[2])
    if right >= 0:
        yield keys <= rows + right
    if left >= 0:
        yield keys >= rows - left


def _causal(q: Tensor, k: Tensor) -> Tensor:
    """Each token sees those up to itself."""
    (seen,) = _seen(q, k, torch.tensor(0), 0)
    return _hidden(seen.to(q.device), q)


def _sum(a: Maybe, b: Tensor) -> Tensor:
    return b if a is None else a + b


@converter("MultiHeadAttention", domain="com.microsoft")
def multi_head_attention(node: OpNode) -> Function:
    """q, k, v: (B, T, h*d)   bias: (q + k + v,)   padding: (B, S)   more: (B, h, T, S)."""
    heads, scale = node.attrs["num_heads"], node.attrs.get("scale") or None
    causal = node.attrs.get("unidirectional", 0)
    if any(node.inputs[6:]) or len(node.outputs) > 1:
        raise ValueError("keys and values of the past are not known")

    def run(
        q: Tensor, k: Maybe = None, v: Maybe = None, bias: Maybe = None,
        padding: Maybe = None, more: Maybe = None,
    ) -> Tensor:  # fmt: skip
        if k is None or v is None or q.dim() != 3 or k.dim() != 3:
            raise BridgeError("operands that are packed in one tensor are not known")
        if bias is not None:
            sizes = [x.shape[-1] for x in (q, k, v)]
            q, k, v = (x + b for x, b in zip((q, k, v), torch.split(bias, sizes), strict=True))
        q, k, v = (_split(x, heads) for x in (q, k, v))
        if padding is not None:
            if padding.dim() != 2:
                raise BridgeError("a padding mask that is no (batch, keys) is not known")
            more = _sum(more, _hidden(padding.bool()[:, None, None], q))
        if causal:
            more = _sum(more, _causal(q, k))
        return _join(attend(q, k, v, more, scale)[0])

    return run


@converter("Attention", domain="com.microsoft")
def packed_attention(node: OpNode) -> Function:
    """x: (B, T, I)   w: (I, q + k + v)   bias: (q + k + v,)   mask: (B, S)."""
    heads, scale = node.attrs["num_heads"], node.attrs.get("scale") or None
    causal, sizes = node.attrs.get("unidirectional", 0), node.attrs.get("qkv_hidden_sizes")
    if any(node.inputs[4:5]) or any(node.inputs[6:]) or len(node.outputs) > 1:
        raise ValueError("keys and values of the past are not known")
    if node.attrs.get("do_rotary", 0):
        raise ValueError("rotary embeddings inside of it are not known")

    def run(
        x: Tensor, w: Tensor, bias: Maybe = None, mask: Maybe = None,
        _past: Maybe = None, more: Maybe = None,
    ) -> Tensor:  # fmt: skip
        y = x @ w if bias is None else x @ w + bias
        q, k, v = (_split(part, heads) for part in torch.split(y, sizes or y.shape[-1] // 3, -1))
        if mask is not None:
            if mask.dim() != 2:
                raise BridgeError("a mask that is no (batch, keys) is not known")
            more = _sum(more, _hidden(mask.bool()[:, None, None], q))
        if causal:
            more = _sum(more, _causal(q, k))
        return _join(attend(q, k, v, more, scale)[0])

    return run


@converter("RotaryEmbedding")
def rotary_embedding(node: OpNode) -> Function:
    """x: (B, h, T, d) or (B, T, h*d)   cos, sin: (positions, d/2), or (B, T, d/2) without ids."""
    return _rotary(node, order=(0, 1, 2, 3))


@converter("RotaryEmbedding", domain="com.microsoft")
def rotary_embedding_of_microsoft(node: OpNode) -> Function:
    """x, cos and sin as above   ids: (1,), the first one's, or (B, T)."""
    if node.attrs.get("is_packed_batching", 0):
        raise ValueError("packed batches are not known")
    return _rotary(node, order=(0, 2, 3, 1))


def _rotary(node: OpNode, order: tuple[int, ...]) -> Function:
    attrs = node.attrs
    part, scale = attrs.get("rotary_embedding_dim", 0), attrs.get("scale", 1.0)
    heads, interleaved = attrs.get("num_heads", 0), attrs.get("interleaved", 0)

    def run(*inputs: Maybe) -> Tensor:
        given = [inputs[i] if i < len(inputs) else None for i in order]
        x, cos, sin, ids = given
        assert x is not None
        assert cos is not None
        assert sin is not None
        flat = x.dim() == 3
        if flat:
            count = heads or x.shape[-1] // (part or 2 * cos.shape[-1])
            x = _split(x, count)
        if ids is not None and ids.numel() == 1:
            ids = ids.reshape(1, 1) + torch.arange(x.shape[2], device=x.device)
        cos, sin = (t[ids.long()] if ids is not None else t for t in (cos, sin))
        turned, rest = x[..., : part or None], x[..., part:] if part else x[..., :0]
        half = turned.shape[-1] // 2
        cos, sin = (t[..., None, :, :half] for t in (cos, sin))
        if interleaved:
            a, b = turned[..., ::2], turned[..., 1::2]
            y = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
        else:
            a, b = turned[..., :half], turned[..., half:]
            y = torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
        y = torch.cat([y, rest], -1) if rest.shape[-1] else y
        y = y if scale == 1.0 else y * scale
        return _join(y) if flat else y

    return run
