/* libFuzzer target: any bytes as a term of the External Term Format, without the leading 131. */
#include "round_trip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    round_trip(&codec_etf, (struct slice){data, size});
    return 0;
}
