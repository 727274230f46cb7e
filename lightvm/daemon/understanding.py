"""What a create request means: from which image, out of which pool, where it may run."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from lightvm.daemon.images import ImageCache
from lightvm.daemon.net.networks import Networks
from lightvm.daemon.scheduling import plan_scheduling
from lightvm.daemon.shells import Pools
from lightvm.daemon.wish import Wish, check_request, make_wish
from lightvm.model import CreateRequest
from lightvm.xen.hypervisor import Hypervisor, Scheduling
from lightvm.xen.image import Image


class Understood(msgspec.Struct, frozen=True):
    """What a request means, as long as its image is the same."""

    request: CreateRequest
    image: Image
    wish: Wish
    scheduling: Scheduling | None


class Understanding:
    """Finds out what requests mean, and remembers the last of them."""

    def __init__(
        self, images: ImageCache, pools: Pools, networks: Networks, hypervisor: Hypervisor
    ) -> None:
        self.images = images
        self._pools = pools
        self._networks = networks
        self._hypervisor = hypervisor
        self._last: Understood | None = None

    def recall(self, request: CreateRequest) -> Understood | None:
        """Return what a request means that asks for the same as the last, from the same image. One stat call."""
        last = self._last
        if last is None or request != last.request:
            return None
        return last if self.images.get_nowait(request.image) is last.image else None

    async def find(self, request: CreateRequest) -> Understood:
        """Check a request and find out what it means.

        Raises `BadRequest`, `BadImage`, `NoSuchFlavor` and `NoSuchNetwork`. No checkpoint where the image is known.
        """
        check_request(request)
        image = await self.images.get(request.image)
        asked = request
        if request.nets and not self._networks.are_known(request.nets):
            request = replace(request, nets=self._networks.resolve(request.nets))
        wish = make_wish(request, image, self._pools)
        scheduling = None
        if request.is_scheduled:
            scheduling = plan_scheduling(request, wish.shape.vcpus, self._hypervisor)
        self._last = Understood(asked, image, wish, scheduling)
        return self._last
