/* libFuzzer target: any bytes as a term of MessagePack. */
#include "round_trip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    round_trip(&codec_msgpack, (struct slice){data, size});
    return 0;
}
