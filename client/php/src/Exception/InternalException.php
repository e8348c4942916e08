<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * INTERNAL: an error within the server. Its log has the details under the id in the message.
 */
class InternalException extends ServerException
{
}
