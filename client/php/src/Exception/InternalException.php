<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * INTERNAL: a fault of the server's; its log tells more under the id in the message.
 */
class InternalException extends ServerException
{
}
