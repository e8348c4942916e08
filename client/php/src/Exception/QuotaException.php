<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * QUOTA: the tenant has reached its limit; stored sessions are kept.
 */
class QuotaException extends ServerException
{
}
