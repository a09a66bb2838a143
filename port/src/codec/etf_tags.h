/* etf_tags: the first bytes of terms in the External Term Format (PROTOCOL §9.1), as etf_check, etf_read and
 * etf_codec need them. */
#ifndef ETF_TAGS_H
#define ETF_TAGS_H

enum etf_tag {
    ETF_VERSION = 131,
    ETF_FLOAT = 70,
    ETF_BITSTRING = 77,
    ETF_SMALL_INTEGER = 97,
    ETF_INTEGER = 98,
    ETF_LATIN1_ATOM = 100,
    ETF_SMALL_TUPLE = 104,
    ETF_LARGE_TUPLE = 105,
    ETF_NIL = 106,
    ETF_STRING = 107, /* a list of at most 65535 bytes */
    ETF_LIST = 108,
    ETF_BINARY = 109,
    ETF_SMALL_BIG = 110,
    ETF_LARGE_BIG = 111,
    ETF_SMALL_LATIN1_ATOM = 115,
    ETF_MAP = 116,
    ETF_UTF8_ATOM = 118,
    ETF_SMALL_UTF8_ATOM = 119,
};

#endif
