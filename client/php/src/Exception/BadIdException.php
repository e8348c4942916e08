<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BADID: an id is not 16 to 256 bytes of visible ASCII.
 */
class BadIdException extends ServerException
{
}
