<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * NOTFOUND: there is no such session, or not any more.
 */
class NotFoundException extends ServerException
{
}
