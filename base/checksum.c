/* The only file that includes xxhash; its code comes from the header, so there is nothing to link. */
#include "base/checksum.h"

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wswitch-enum"
#pragma GCC diagnostic ignored "-Wshadow"
#include <xxhash.h>
#pragma GCC diagnostic pop

uint64_t checksum64(const void *p, size_t n)
{
    return XXH3_64bits(p, n);
}
