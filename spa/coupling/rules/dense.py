"""Operators that are kept dense by design: what they read stays whole, and this is why.

An operator with neither a rule nor an entry here is kept dense too; then the reason is that there
is no rule.
"""

from __future__ import annotations

from spa.coupling.operators import Operator, describe

_SUBGRAPH = "its subgraphs read and make tensors by name, which are not followed"
_SEQUENCE = "it handles a list of tensors, whose entries are not followed"
_OPTIONAL = "it handles a tensor that may be absent, which is not followed"
_TEXT = "it handles text, which has no channels"
_LOSS = "its class numbers and means are over all entries"
_INTEGER = "it computes with integers whose scale depends on all channels"
_FOLDED = (
    "its integers are tied to scales of its own; quantise with QuantizeLinear and DequantizeLinear "
    "nodes (QDQ) instead, or prune before quantising"
)
_PACKED = "its weights are packed in blocks along the axis that it sums over; prune before packing"

KEPT_DENSE: dict[str, str] = {
    # Control flow.
    # One that is not opened (`spa.graph.opening`).
    "If": "its branches give other shapes, or do not both run on the example",
    "Loop": _SUBGRAPH,
    "Scan": _SUBGRAPH,
    "SequenceMap": _SUBGRAPH,
    # Lists, optional tensors and text.
    "ConcatFromSequence": _SEQUENCE,
    "SequenceAt": _SEQUENCE,
    "SequenceConstruct": _SEQUENCE,
    "SequenceEmpty": _SEQUENCE,
    "SequenceErase": _SEQUENCE,
    "SequenceInsert": _SEQUENCE,
    "SequenceLength": _SEQUENCE,
    "SplitToSequence": _SEQUENCE,
    "Optional": _OPTIONAL,
    "OptionalGetElement": _OPTIONAL,
    "OptionalHasElement": _OPTIONAL,
    "ImageDecoder": "it decodes a file, which has no channels",
    "RegexFullMatch": _TEXT,
    "StringConcat": _TEXT,
    "StringNormalizer": _TEXT,
    "StringSplit": _TEXT,
    "TfIdfVectorizer": "it counts words by their numbers",
    # Positions and numbers of entries leave as values.
    "NegativeLogLikelihoodLoss": _LOSS,
    "NonMaxSuppression": "its output numbers boxes and classes",
    "NonZero": "its output numbers the entries of all axes",
    "SoftmaxCrossEntropyLoss": _LOSS,
    "Unique": "whether two entries are equal depends on all of them",
    # Not run by the ONNX Runtime that proves results.
    "CausalConvWithState": "ONNX Runtime does not run it, so that nothing could be proven",
    "LinearAttention": "ONNX Runtime does not run it, so that nothing could be proven",
    "SwiGLU": "ONNX Runtime does not run it, so that nothing could be proven",
    # Quantised while the model runs.
    "ConvInteger": _INTEGER,
    "DynamicQuantizeLinear": "its scale is taken from all entries, so none may go",
    "MatMulInteger": _INTEGER,
    "com.microsoft::ConvIntegerToFloat": _INTEGER,
    "com.microsoft::DynamicQuantizeLSTM": _INTEGER,
    "com.microsoft::DynamicQuantizeMatMul": _INTEGER,
    "com.microsoft::MatMulInteger16": _INTEGER,
    "com.microsoft::MatMulIntegerToFloat": _INTEGER,
    # Quantised beforehand, with the scales inside of the operator.
    "QLinearConv": _FOLDED,
    "QLinearMatMul": _FOLDED,
    "com.microsoft::QAttention": _FOLDED,
    "com.microsoft::QEmbedLayerNormalization": _FOLDED,
    "com.microsoft::QGemm": _FOLDED,
    "com.microsoft::QLinearAdd": _FOLDED,
    "com.microsoft::QLinearAveragePool": _FOLDED,
    "com.microsoft::QLinearConcat": _FOLDED,
    "com.microsoft::QLinearConv": _FOLDED,
    "com.microsoft::QLinearGlobalAveragePool": _FOLDED,
    "com.microsoft::QLinearLeakyRelu": _FOLDED,
    "com.microsoft::QLinearMul": _FOLDED,
    "com.microsoft::QLinearReduceMean": _FOLDED,
    "com.microsoft::QLinearSigmoid": _FOLDED,
    "com.microsoft::QLinearSoftmax": _FOLDED,
    "com.microsoft::QLinearWhere": _FOLDED,
    # Weights of four bits and fewer, several to a byte.
    "com.microsoft::GatherBlockQuantized": _PACKED,
    "com.microsoft::MatMulBnb4": _PACKED,
    "com.microsoft::MatMulFpQ4": _PACKED,
    "com.microsoft::MatMulNBits": _PACKED,
    "com.microsoft::QMoE": _PACKED,
}

for _op in ("DynamicQuantizeLinear", "NonMaxSuppression", "NonZero", "Unique"):
    describe(_op, Operator(jumps=True))
