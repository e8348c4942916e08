<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * TLSREQUIRED: this address must connect with tls://.
 */
class TlsRequiredException extends ServerException
{
}
