/* http/url.c: pieces of URLs: escaping, and hiding what must not be shown. */
#include "http/http.h"

void http_escape(struct mr_buf *out, mr_str text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            mr_buf_u8(out, c);
        } else {
            mr_buf_u8(out, '%');
            mr_buf_u8(out, (uint8_t)digits[c >> 4]);
            mr_buf_u8(out, (uint8_t)digits[c & 15]);
        }
    }
}

void http_url_public(struct mr_buf *out, mr_str url)
{
    ptrdiff_t scheme = mr_str_find(url, MR_STR("://"));
    size_t host = scheme < 0 ? 0 : (size_t)scheme + 3, end = host;
    while (end < url.length && strchr("/?#", url.data[end]) == NULL)
        end++;
    for (size_t i = end; i > host; i--) /* the last '@' ends the user info (RFC 3986, 3.2.1) */
        if (url.data[i - 1] == '@') {
            mr_buf_str(out, mr_str_slice(url, 0, host));
            mr_buf_str(out, mr_str_slice(url, i, url.length));
            return;
        }
    mr_buf_str(out, url);
}
