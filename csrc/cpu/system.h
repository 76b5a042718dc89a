// The system's headers. They take longer than many a kernel: the build compiles them once for each
// instruction set.
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
