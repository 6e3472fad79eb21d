"""The group of ranks: where they meet, and on which device and with how many threads each of them works."""

import os
import socket
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from tokenwire.engine.model.parallel.followers import Followers
from tokenwire.engine.model.parallel.limits import check_devices
from tokenwire.engine.model.parallel.messages import Join

_LOOPBACK = "127.0.0.1"
# A rank that is late by that much has died or hangs. Loading is no part of it: nobody waits in an operation then.
_OPERATION_TIMEOUT = timedelta(minutes=5)


def found_group(followers: Followers, device: torch.device) -> torch.device:
    """As rank 0, have all ranks meet. Returns this rank's device; on a CPU the ranks share out torch's threads.

    Raises `EngineStartError` where there are fewer devices than ranks.
    """
    check_devices(followers.size, device)
    # The store would listen on every interface: so it gets a socket that does not.
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        store = TCPStore(
            _LOOPBACK,
            port,
            followers.size,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    join = Join(port, followers.size, str(device), num_threads=max(1, torch.get_num_threads() // followers.size))
    followers.tell(join)
    own_device = _meet(store, join, rank=0)
    followers.wait()
    return own_device


def join_group(join: Join, *, rank: int) -> torch.device:
    """As another rank, meet the others. Returns this rank's device."""
    return _meet(TCPStore(_LOOPBACK, join.port, join.size, is_master=False), join, rank=rank)


def _meet(store: Store, join: Join, *, rank: int) -> torch.device:
    device = torch.device(join.device)
    if device.type == "cuda":
        device = torch.device("cuda", (device.index or 0) + rank)
        torch.cuda.set_device(device)
        os.environ["LOCAL_RANK"] = str(device.index)  # where transformers looks for it
    else:
        torch.set_num_threads(join.num_threads)
    for library in ("GLOO", "NCCL"):
        os.environ[f"{library}_SOCKET_IFNAME"] = _loopback_interface()
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=join.size, timeout=_OPERATION_TIMEOUT)
    return device


def _loopback_interface() -> str:
    """`lo`, or `lo0` on a Mac."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
