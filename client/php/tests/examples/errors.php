<?php

require getenv('PACKAGE') . '/autoload.php';

SessionServer\SaveHandler::register('tcp://localhost?lock_timeout=2');

use SessionServer\Exception\LockTimeoutException;
use SessionServer\Exception\SessionServerException;

try {
    session_start();
} catch (LockTimeoutException $e) {
    http_response_code(503); // another request of this visitor takes too long
    exit('Please try again.');
} catch (SessionServerException $e) {
    error_log($e->getMessage());
    http_response_code(503);
    exit('Sessions are not available.');
}

echo session_status() === PHP_SESSION_ACTIVE ? '1' : 'no session';
