"""What does not depend on the picture, in the graph that torch.export writes.

`trace` lists the operations that do; weights, and what is computed from weights alone,
have values already, and these are here.
"""

from torch.fx.node import Node, map_arg


def weights_of(net, program):
    """The tensor of every parameter and buffer, by the name of its node."""
    tensors = dict(net.named_parameters(remove_duplicate=False))
    tensors |= dict(net.named_buffers(remove_duplicate=False))
    signature = program.graph_signature
    paths = signature.inputs_to_parameters | signature.inputs_to_buffers
    found = {}
    for node, path in paths.items():
        found[node] = tensors[path].detach().cpu()
    return found


def changing(program):
    """The nodes that depend on the picture."""
    found = set()
    for node in program.graph.nodes:
        picture = node.name in program.graph_signature.user_inputs
        if picture or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def computed(thing, known):
    """The value of an argument, by the values of the nodes that are known."""
    if not isinstance(thing, Node):
        return thing
    if thing.name in known:
        return known[thing.name]
    value = None
    if thing.op == "call_function":
        inputs = map_arg(thing.args, lambda node: computed(node, known))
        settings = map_arg(thing.kwargs, lambda node: computed(node, known))
        value = thing.target(*inputs, **settings)
    if value is None or value.is_meta:
        raise ValueError(
            f"a page cannot run numbers that a network makes in forward, {thing.name}: "
            "let it register them as a buffer"
        )
    return value
