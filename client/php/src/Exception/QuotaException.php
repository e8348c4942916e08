<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * QUOTA: the tenant is full; what is stored stays.
 */
class QuotaException extends ServerException
{
}
