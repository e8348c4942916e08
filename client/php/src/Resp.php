<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * The encoder of requests in RESP, the serialization protocol of Redis. It supports any bytes.
 *
 * @internal
 */
final class Resp
{
    /** @param list<list<string>> $requests */
    public static function encode(#[\SensitiveParameter] array $requests): string
    {
        $bytes = '';
        foreach ($requests as $words) {
            $bytes .= '*' . count($words) . "\r\n";
            foreach ($words as $word) {
                $bytes .= '$' . strlen($word) . "\r\n" . $word . "\r\n";
            }
        }
        return $bytes;
    }
}
