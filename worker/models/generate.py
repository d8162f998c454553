#!/usr/bin/env python3
"""Writes the small models of this folder. The bytes depend only on this file: no clock, no random seed from outside.

    python3 -m pip install onnx==1.22.0 numpy
    python3 worker/models/generate.py            # writes the files of <name>/<version>/ and prints their SHA-256 for model.toml
    python3 worker/models/generate.py --check    # writes nothing; fails when a committed file differs
"""

import hashlib
import json
import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = pathlib.Path(__file__).resolve().parent
# The oldest forms that hold every operator used here: old runtimes can load them.
IR_VERSION = 10
OPSET = 17


def constant(array, name):
    # asarray, not ascontiguousarray: the latter turns a scalar into a vector.
    return numpy_helper.from_array(numpy.asarray(array, order="C"), name)


def spin(width=64, products=4):
    """y = x * W * W * ... : `iters` times `products` products, so the duration is linear in `iters` and open-ended.

    W is orthogonal: |y| = |x| up to rounding, which shows that every product was really computed.
    """
    square = numpy.random.RandomState(7).randn(width, width)
    orthogonal = numpy.linalg.qr(square)[0].astype(numpy.float32)

    nodes, carried = [], "x_in"
    for index in range(products):
        product = f"product_{index}"
        nodes.append(helper.make_node("MatMul", [carried, "W"], [product], name=product))
        carried = product
    nodes.append(helper.make_node("Identity", [carried], ["x_out"], name="carry_x"))
    nodes.append(helper.make_node("Identity", ["go_in"], ["go_out"], name="carry_go"))
    row = ["batch", width]
    body = helper.make_graph(
        nodes,
        "iteration",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_in", TensorProto.FLOAT, row),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, row),
        ],
    )
    return helper.make_graph(
        [helper.make_node("Loop", ["iters", "go", "x"], ["y"], name="spin", body=body)],
        "spin",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, row),
            helper.make_tensor_value_info("iters", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, row)],
        [constant(orthogonal, "W"), constant(True, "go")],
    )


# What a word says for each label of `tone`: negative, neutral, positive.
TONES = {
    (2, 0, 0): "bad broken crash crashed error fail failed failure lost slow stuck terrible worse wrong",
    (0, 0.25, 0): "a an and are at by for from in is it job model of on queue the this to was will with worker",
    (0, 0, 2): "better clean done excellent fast fine fixed good great recovered success thanks works",
}


def tone_words():
    """Every word with its tones. The first two are padding and all unknown words, which say nothing."""
    words = [("[PAD]", (0, 0, 0)), ("[UNK]", (0, 0, 0))]
    return words + sorted((word, tones) for tones, of_tone in TONES.items() for word in of_tone.split())


def tone():
    """The sum of what the words of a text say, and a little for neutral: small enough to be computed by hand."""
    shape = ["batch", "words"]
    nodes = [
        helper.make_node("Gather", ["tones", "ids"], ["of_words"], axis=0),
        helper.make_node("Cast", ["mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counts", "last"], ["counted"]),
        helper.make_node("Mul", ["of_words", "counted"], ["said"]),
        helper.make_node("ReduceSum", ["said", "over_words"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "before"], ["logits"]),
    ]
    tones = numpy.array([tones for _, tones in tone_words()], dtype=numpy.float32)
    return helper.make_graph(
        nodes,
        "tone",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, shape),
            helper.make_tensor_value_info("mask", TensorProto.INT64, shape),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [
            constant(tones, "tones"),
            constant(numpy.array([2], dtype=numpy.int64), "last"),
            constant(numpy.array([1], dtype=numpy.int64), "over_words"),
            constant(numpy.array([0, 0.5, 0], dtype=numpy.float32), "before"),
        ],
    )


def tone_tokenizer():
    """Lower case, split at white space and punctuation, one id a word; the form of the crate and package `tokenizers`."""
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, (word, _) in enumerate(tone_words())},
            "unk_token": "[UNK]",
        },
    }
    return (json.dumps(tokenizer, indent=1) + "\n").encode()


class Nodes:
    """A graph's nodes and constants in the order in which they are named."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def hold(self, array):
        name = f"constant_{len(self.constants)}"
        self.constants.append(constant(array, name))
        return name

    def __call__(self, operator, *inputs, outputs=None, **attributes):
        name = f"{operator.lower()}_{len(self.nodes)}"
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, name=name, **attributes))
        return outputs[0]


def babble(vocabulary=256, width=32, heads=2, layers=2, positions=256):
    """A causal transformer over bytes with a key and value cache, and random weights: what it says means nothing, but it must say the same.

    tokens [1, new], past_* [layers, 1, heads, past, width / heads] -> logits [1, vocabulary] of the last position, present_* with past + new.
    """
    random = numpy.random.RandomState(1234)
    node, size = Nodes(), width // heads

    def weights(rows, columns, scale=0.5):
        return node.hold((random.randn(rows, columns) * scale / numpy.sqrt(rows)).astype(numpy.float32))

    def number(value):
        return node.hold(numpy.array(value, numpy.int64))

    def normalised(x):
        ones, zeros = (node.hold(numpy.full(width, value, numpy.float32)) for value in (1, 0))
        return node("LayerNormalization", x, ones, zeros, axis=-1)

    zero, one = number(0), number(1)
    new = node("Gather", node("Shape", "tokens"), one)
    past = node("Gather", node("Shape", "past_key"), number(3))
    total = node("Add", past, new)
    asks, is_asked = node("Range", past, total, one), node("Range", zero, total, one)
    embedding = node.hold(random.randn(vocabulary, width).astype(numpy.float32))
    place = node.hold((random.randn(positions, width) * 0.3).astype(numpy.float32))
    x = node("Add", node("Gather", embedding, "tokens"), node("Gather", place, asks))
    is_later = node("Greater", node("Unsqueeze", is_asked, number([0])), node("Unsqueeze", asks, number([1])))
    mask = node("Mul", node("Cast", is_later, to=TensorProto.FLOAT), node.hold(numpy.array(-1e9, numpy.float32)))
    split, joined = number([0, 0, heads, size]), number([0, 0, width])
    scale = node.hold(numpy.array(1 / numpy.sqrt(size), numpy.float32))

    kept = {"key": [], "value": []}
    for kind in kept:
        node("Split", f"past_{kind}", outputs=[f"past_{kind}_{layer}" for layer in range(layers)], axis=0)
    for layer in range(layers):
        y = normalised(x)
        query, key, value = (
            node("Transpose", node("Reshape", node("MatMul", y, weights(width, width)), split), perm=[0, 2, 1, 3]) for _ in range(3)
        )
        key = node("Concat", node("Squeeze", f"past_key_{layer}", number([0])), key, axis=2)
        value = node("Concat", node("Squeeze", f"past_value_{layer}", number([0])), value, axis=2)
        kept["key"].append(node("Unsqueeze", key, number([0])))
        kept["value"].append(node("Unsqueeze", value, number([0])))
        scores = node("Mul", node("MatMul", query, node("Transpose", key, perm=[0, 1, 3, 2])), scale)
        seen = node("MatMul", node("Softmax", node("Add", scores, mask), axis=-1), value)
        seen = node("Reshape", node("Transpose", seen, perm=[0, 2, 1, 3]), joined)
        x = node("Add", x, node("MatMul", seen, weights(width, width, 2)))
        hidden = node("Relu", node("MatMul", normalised(x), weights(width, 4 * width, 2)))
        x = node("Add", x, node("MatMul", hidden, weights(4 * width, width, 2)))
    for kind, tensors in kept.items():
        node("Concat", *tensors, outputs=[f"present_{kind}"], axis=0)
    last = node("Gather", normalised(x), number(-1), axis=1)
    node("MatMul", last, weights(width, vocabulary, 3), outputs=["logits"])

    def cache(name, length):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [layers, 1, heads, length, size])

    return helper.make_graph(
        node.nodes,
        "babble",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "new"]), cache("past_key", "past"), cache("past_value", "past")],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, vocabulary]),
            cache("present_key", "total"),
            cache("present_value", "total"),
        ],
        node.constants,
    )


def onnx_file(graph):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="siding")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main():
    files = {
        "babble/1/model.onnx": onnx_file(babble()),
        "spin/1/model.onnx": onnx_file(spin()),
        "tone/1/model.onnx": onnx_file(tone()),
        "tone/1/tokenizer.json": tone_tokenizer(),
    }
    differing = []
    for name, content in files.items():
        path = FOLDER / name
        if "--check" not in sys.argv:
            path.write_bytes(content)
        elif not path.is_file() or path.read_bytes() != content:
            differing.append(name)
        print(hashlib.sha256(content).hexdigest(), len(content), name)
    if differing:
        sys.exit(f"differs from what this script writes: {', '.join(differing)}")


if __name__ == "__main__":
    main()
