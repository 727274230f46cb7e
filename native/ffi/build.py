"""Write the C source of the extension from its declarations: ``build.py OUTPUT``."""

import sys
from pathlib import Path

import cffi

ffi = cffi.FFI()
ffi.cdef((Path(__file__).parent / "lvm.cdef").read_text())
ffi.set_source("lightvm.xen._native", '#include "lvm.h"\n', py_limited_api=True)
ffi.emit_c_code(sys.argv[1])
