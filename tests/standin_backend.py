"""What torch asks of the module of a device, for the stand-in."""

import pytest
import torch
from torch.utils import backend_registration

__all__ = ["Backend", "backend_registration"]

if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("only torch 2.9 and later let Python register a device", allow_module_level=True)


class Backend:
    """``torch.standin``."""

    def is_available(self) -> bool:
        """No: what looks for a device by itself, such as DataParallel in other tests, is to stay on the CPU."""
        return False

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]
