import pytest

from box.errors import BoxError
from box.modules import load_order

NEEDS = {"virtio_net": ["net_failover"], "net_failover": ["failover"], "failover": [], "a": ["b"],
         "b": ["a"], "nft_ct": ["nf_tables", "failover"], "nf_tables": []}  # fmt: skip


def test_each_comes_after_what_it_needs_and_once() -> None:
    order = load_order(["virtio_net", "nft_ct", "failover"], NEEDS.__getitem__)
    assert order == ["failover", "net_failover", "virtio_net", "nf_tables", "nft_ct"]


def test_a_circle_is_named() -> None:
    with pytest.raises(BoxError, match="a -> b -> a"):
        load_order(["a"], NEEDS.__getitem__)
