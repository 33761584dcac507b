"""Bytes between devices: compiled programs with hand-counted collectives, and text in the form that XLA:TPU prints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlcore.cost.collectives import Collective, by_kind, collectives


def text_of(function, specs, out, *shapes):
    """The compiled text for eight devices on the axis data; specs: a name of the split axis, or None, by axis."""
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    args = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec)))
        for shape, spec in zip(shapes, specs, strict=True)
    ]
    placed = jax.tree.map(lambda spec: NamedSharding(mesh, spec), out, is_leaf=lambda x: isinstance(x, PartitionSpec))
    return jax.jit(function, out_shardings=placed).lower(*args).compile().as_text()


def test_gradients_of_data_parallel_training_are_reduced_once():
    """48 x 24 + 24 float32 parameters: 4,704 bytes; in a ring of eight each sends 2 * 7 / 8 of them, 8,232."""

    def gradient(w, b, x):
        return jax.grad(lambda p: jnp.square(x @ p[0] + p[1]).sum())((w, b))

    text = text_of(gradient, [(), (), ("data",)], (PartitionSpec(), PartitionSpec()), (48, 24), (24,), (64, 48))
    found = collectives(text)
    assert by_kind(found).keys() == {"all-reduce"}
    assert sum(c.bytes for c in found) == 4 * (48 * 24 + 24) == 4704
    assert {c.devices for c in found} == {8}
    assert sum(c.sent for c in found) == 8232


def test_fsdp_gathers_what_it_multiplies_with():
    """A kernel of 64 x 128 float32, 32,768 bytes, an eighth on each device: each sends 7 / 8 of it to the others."""
    text = text_of(lambda w, x: jnp.tanh(x @ w), [("data",), ("data",)], PartitionSpec("data"), (64, 128), (8192, 64))
    assert collectives(text) == [Collective("all-gather", 32768, 8)]
    assert by_kind(collectives(text)) == {"all-gather": (1, 32768, 28672)}


def test_a_collective_in_a_scan_counts_every_turn():
    """5 turns, each an all-reduce of [16] float32."""
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))

    def summed(x):
        def turn(carry, _):
            return jax.lax.psum(jnp.sin(carry), "data"), None

        return jax.lax.scan(turn, x, None, 5)[0]

    mapped = jax.shard_map(summed, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)
    text = jax.jit(mapped).lower(jax.ShapeDtypeStruct((16,), jnp.float32)).compile().as_text()
    (found,) = collectives(text)
    assert found == Collective("all-reduce", 64, 8, times=5)
    assert found.sent == 5 * 2 * 64 * 7 // 8


def test_a_loop_of_unknown_length_is_marked():
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))

    def summed(x):
        return jax.lax.while_loop(lambda x: x[0] < 100, lambda x: jax.lax.psum(x, "data") + 1, x)

    mapped = jax.shard_map(summed, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)
    text = jax.jit(mapped).lower(jax.ShapeDtypeStruct((16,), jnp.float32)).compile().as_text()
    assert collectives(text) == [Collective("all-reduce", 64, 4, exact=False)]


def test_a_ring_sends_twice_for_an_all_reduce_and_a_permute_everything():
    sent = {kind: Collective(kind, 800, 8).sent for kind in ("all-reduce", "all-gather", "collective-permute")}
    assert sent == {"all-reduce": 1400, "all-gather": 700, "collective-permute": 800}
    assert Collective("all-to-all", 800, 8, times=3).sent == 2100
    assert Collective("all-reduce", 800, 1).sent == 0


TPU = """HloModule jit__step, is_scheduled=true, num_partitions=16

%add.1 (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %add = f32[]{:T(128)} add(%x, %y)
}

%async_collective_fusion.1 (p: bf16[64,512]) -> bf16[1024,512] {
  %p = bf16[64,512]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.1 = bf16[1024,512]{1,0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=16,'axis_1'=1] {'axis_0'}, dimensions={0}, use_global_device_ids=true
}

%async_collective_fusion.2 (p: bf16[64,512]) -> bf16[1024,512] {
  %p = bf16[64,512]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.2 = bf16[1024,512]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=16,'axis_1'=1] {'axis_0'}, dimensions={0}, use_global_device_ids=true
}

%all-reduce-scatter.6 (p: bf16[384,384], q: bf16[384]) -> (bf16[24,384], bf16[24]) {
  %p = bf16[384,384]{1,0:T(8,128)(2,1)} parameter(0)
  %q = bf16[384]{0:T(512)(128)(2,1)} parameter(1)
  %all-reduce.9 = (bf16[384,384]{1,0:T(8,128)(2,1)}, bf16[384]{0:T(512)(128)(2,1)}) all-reduce(%p, %q), channel_id=9, replica_groups=mesh['axis_0'=16] {'axis_0'}, to_apply=%add.1
  ROOT %slices = (bf16[24,384]{1,0}, bf16[24]{0}) fusion(%all-reduce.9), kind=kLoop, calls=%never_mind
}

%windowed_dot_general_body_lhs_rhs.3 (t: (u32[], bf16[32,96])) -> (u32[], bf16[32,96]) {
  %t = (u32[]{:T(128)}, bf16[32,96]{1,0:T(8,128)(2,1)}) parameter(0)
  %g = bf16[32,96]{1,0:T(8,128)(2,1)} get-tuple-element(%t), index=1
  %permute = bf16[32,96]{1,0:T(8,128)(2,1)} collective-permute(%g), channel_id=11, source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  ROOT %out = (u32[]{:T(128)}, bf16[32,96]{1,0}) tuple(%n, %permute)
}

%windowed_dot_general_cond.3 (t: (u32[], bf16[32,96])) -> pred[] {
  %t = (u32[]{:T(128)}, bf16[32,96]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = u32[]{:T(128)} get-tuple-element(%t), index=0
  %limit = u32[]{:T(128)} constant(15)
  ROOT %less = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

%unused (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %all-reduce.77 = f32[8]{0} all-reduce(%p), channel_id=77, replica_groups={}, to_apply=%add.1
}

ENTRY %main.1 (a: bf16[64,512], b: bf16[384,384]) -> f32[] {
  %a = bf16[64,512]{1,0:T(8,128)(2,1)} parameter(0)
  %first = bf16[1024,512]{1,0:T(8,128)(2,1)S(1)} fusion(%a), kind=kOutput, calls=%async_collective_fusion.1, metadata={op_name="jit(_step)/all-gather(x)"}
  %second = bf16[1024,512]{1,0:T(8,128)(2,1)} fusion(%a), kind=kOutput, calls=%async_collective_fusion.2
  %fusion.608 = (bf16[24,384]{1,0:T(8,128)(2,1)S(1)}, bf16[24]{0}) fusion(%b, %c), kind=kCustom, calls=%all-reduce-scatter.6
  %while.1 = (u32[]{:T(128)}, bf16[32,96]{1,0}, /*index=2*/f32[]{:T(128)}) while(%init), condition=%windowed_dot_general_cond.3, body=%windowed_dot_general_body_lhs_rhs.3
  %all-gather-start.4 = (bf16[4,96]{1,0:T(8,128)(2,1)}, bf16[64,96]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}, u32[]{:S(2)}) all-gather-start(%g), channel_id=13, replica_groups=[1,16]<=[16], dimensions={0}
  %all-gather-done.4 = bf16[64,96]{1,0:T(8,128)(2,1)} all-gather-done(%all-gather-start.4)
  %all-reduce-start.5 = (f32[256]{0:T(256)}, f32[]{:T(128)}) all-reduce-start(%l, %m), channel_id=15, replica_groups={{0,1,2,3},{4,5,6,7},{8,9,10,11},{12,13,14,15}}, to_apply=%add.1
  %all-reduce-done.5 = (f32[256]{0:T(256)}, f32[]{:T(128)}) all-reduce-done(%all-reduce-start.5)
  %scattered = f32[6,4]{1,0:T(8,128)} reduce-scatter(%n), channel_id=17, replica_groups=[4,4]<=[4,4]T(1,0), dimensions={0}, to_apply=%add.1
  %gathers = ((f32[2]{0}, f32[4]{0}), (f32[32]{0}, f32[64]{0}), u32[]{:S(2)}) all-gather-start(%o, %p), channel_id=19, replica_groups={}, dimensions={0}
  ROOT %exchanged = pred[16,8]{1,0:T(8,128)(4,1)} all-to-all(%q), channel_id=21, replica_groups=mesh['a'=4,'b'=4] {'b'}, dimensions={0}
}
"""  # noqa: E501


@pytest.mark.parametrize(
    "want",
    [
        Collective("all-gather", 2 * 1024 * 512, 16),  # one channel in two fusions
        Collective("reduce-scatter", 2 * (384 * 384 + 384), 16),  # named so, an all-reduce inside
        Collective("collective-permute", 2 * 32 * 96, 16, times=15),  # as often as the condition says
        Collective("all-gather", 2 * 64 * 96, 16),  # of a start the larger side
        Collective("all-reduce", 4 * 257, 4),  # the type of this start is its result
        Collective("reduce-scatter", 4 * 6 * 4 * 4, 4),  # the whole, of which a quarter comes out
        Collective("all-gather", 4 * (32 + 64), 16),  # several in one start: the larger sides together
        Collective("all-to-all", 16 * 8, 4),
    ],
)
def test_the_forms_that_a_tpu_program_prints(want):
    assert collectives(TPU).count(want) == 1


def test_one_that_goes_on_beside_a_loop_is_counted_once():
    """It stands in a fusion before the loop and in one of its body: started there, going on here."""
    body = "  %permute = bf16[32,96]"
    inside = "  %on = bf16[1024,512]{1,0} fusion(%g), kind=kOutput, calls=%async_collective_fusion.2\n"
    rides = TPU.replace(body, inside + body)
    assert rides.count("calls=%async_collective_fusion.2") == 2
    second = next(line for line in rides.splitlines() if "%second" in line)
    rides = rides.replace(second + "\n", "")
    assert collectives(rides).count(Collective("all-gather", 2 * 1024 * 512, 16)) == 1
    # Beside a loop of unknown length it is known to run once, whichever of the two comes first in the text.
    unknown = rides.replace("direction=LT", "direction=NE")
    swapped = unknown.replace("fusion.1", "fusion.0").replace("fusion.2", "fusion.1").replace("fusion.0", "fusion.2")
    for text in (unknown, swapped):
        assert [c for c in collectives(text) if c.bytes == 2 * 1024 * 512] == [Collective("all-gather", 2**20, 16)]
    only_inside = rides.replace("calls=%async_collective_fusion.1", "calls=%never_mind")
    assert Collective("all-gather", 2 * 1024 * 512, 16, times=15) in collectives(only_inside)


def test_nothing_else_in_it_counts():
    found = collectives(TPU)
    assert len(found) == 8
    assert by_kind(found)["collective-permute"] == (15, 15 * 6144, 15 * 6144)


def test_a_known_trip_count_goes_before_the_condition():
    looped = TPU.replace(
        "body=%windowed_dot_general_body_lhs_rhs.3",
        'body=%windowed_dot_general_body_lhs_rhs.3, backend_config={"known_trip_count":{"n":"3"}}',
    )
    assert Collective("collective-permute", 6144, 16, times=3) in collectives(looped)
    unknown = TPU.replace("direction=LT", "direction=NE")
    assert Collective("collective-permute", 6144, 16, exact=False) in collectives(unknown)


def test_a_part_of_a_mesh_axis_and_loops_inside_loops():
    part = TPU.replace(
        "replica_groups=mesh['axis_0'=16] {'axis_0'}", "replica_groups=mesh['axis_0'=16] {'axis_0':(2)8}"
    )
    assert Collective("reduce-scatter", 2 * (384 * 384 + 384), 8) in collectives(part)
    entry = "ENTRY %main.1 (a: bf16[64,512], b: bf16[384,384]) -> f32[] {"
    outer = TPU.replace(entry, "%outer (t: f32[]) -> f32[] {") + (
        "\nENTRY %main.2 (a: f32[]) -> f32[] {\n"
        '  ROOT %w = f32[] while(%a), condition=%c, body=%outer, backend_config={"known_trip_count":{"n":"2"}}\n}\n'
    )
    assert Collective("collective-permute", 6144, 16, times=30) in collectives(outer)
    assert Collective("all-to-all", 128, 4, times=2) in collectives(outer)


def test_a_program_of_one_device_sends_nothing():
    text = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((4, 4), jnp.float32)).compile().as_text()
    assert collectives(text) == []
    assert by_kind([]) == {}


def test_each_branch_of_a_conditional_counts():
    text = """HloModule jit__step

%left (p: f32[8]) -> f32[8] {
  ROOT %a = f32[8]{0} all-reduce(%p), replica_groups={{0,1}}
}

%right (p: f32[8]) -> f32[8] {
  ROOT %b = f32[4]{0} all-gather(%p), replica_groups={}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  ROOT %c = f32[8]{0} conditional(%i, %p, %p), branch_computations={%left, %right}
}
"""
    assert collectives(text) == [Collective("all-reduce", 32, 2), Collective("all-gather", 16, 1)]
    assert collectives(text.replace("jit__step", "jit__step, num_partitions=6"))[1].devices == 6
