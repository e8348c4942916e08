<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * NOTFOUND: the session does not exist or has ended.
 */
class NotFoundException extends ServerException
{
}
