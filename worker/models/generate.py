#!/usr/bin/env python3
"""Writes the small models of this folder. The bytes depend only on this file: no clock, no random seed from outside.

    python3 -m pip install onnx==1.22.0 numpy
    python3 worker/models/generate.py            # writes <name>/<version>/model.onnx and prints its SHA-256 for model.toml
    python3 worker/models/generate.py --check    # writes nothing; fails when a committed file differs
"""

import hashlib
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


def main():
    models = {"spin/1/model.onnx": spin()}
    differing = []
    for name, graph in models.items():
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="siding"
        )
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
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
