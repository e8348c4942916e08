<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * DENIED: a policy refuses the operation.
 */
class DeniedException extends ServerException
{
}
