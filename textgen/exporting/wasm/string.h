/* The part of <string.h> that the kernel uses. WebAssembly has an instruction for each. */

#ifndef TEXTGEN_STRING_H
#define TEXTGEN_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);

#endif
