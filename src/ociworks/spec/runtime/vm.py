"""Containers in a virtual machine (runtime-spec config-vm.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec._model import U32, U64

__all__ = ["VM", "HWConfig", "Hypervisor", "IOMem", "Image", "Kernel"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Hypervisor(Model, nulls=True):
    """The hypervisor (runtime-spec config-vm.md, Hypervisor Object)."""

    path: str
    parameters: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Kernel(Model, nulls=True):
    """The guest kernel (runtime-spec config-vm.md, Kernel Object)."""

    path: str
    parameters: tuple[str, ...] = ()
    initrd: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Image(Model, nulls=True):
    """The root image (runtime-spec config-vm.md, Image Object)."""

    path: str
    format: str


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IOMem(Model, names={"first_gfn": "firstGFN", "first_mfn": "firstMFN", "nr_mfns": "nrMFNs"}, nulls=True):
    """Memory of the host to map into the guest (runtime-spec config-vm.md, HWConfig Object)."""

    first_gfn: U64 | None = None
    first_mfn: U64
    nr_mfns: U64


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class HWConfig(Model, nulls=True):
    """The guest's hardware (runtime-spec config-vm.md, HWConfig Object)."""

    device_tree: str | None = None
    vcpus: U32 | None = None
    memory: U64 | None = None
    dtdevs: tuple[str, ...] = ()
    iomems: tuple[IOMem, ...] = ()
    irqs: tuple[U32, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class VM(Model, nulls=True):
    """Everything about the virtual machine."""

    hypervisor: Hypervisor | None = None
    kernel: Kernel
    image: Image | None = None
    hw_config: HWConfig | None = None
