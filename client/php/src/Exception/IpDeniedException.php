<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * IPDENIED: this address may not connect.
 */
class IpDeniedException extends ServerException
{
}
