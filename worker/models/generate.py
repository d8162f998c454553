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


def onnx_file(graph):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="siding")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main():
    files = {
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
