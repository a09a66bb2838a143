/* See codec.h. */
#include "codec.h"
#include "etf_tags.h"

const char codec_out_of_memory[] = "out of memory";

const struct codec *codec_of(uint8_t first_byte) {
    if (first_byte == ETF_VERSION) {
        return &codec_etf;
    }
    if ((first_byte >= 0x90 && first_byte <= 0x9f) || first_byte == 0xdc || first_byte == 0xdd) {
        return &codec_msgpack;
    }
    return NULL;
}
