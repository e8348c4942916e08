<?php

declare(strict_types=1);

/**
 * Puts every session of an application on the session server without a change to it: name this file in php.ini's
 * auto_prepend_file and the server in session.save_path.
 */
require_once __DIR__ . '/autoload.php';

SessionServer\SaveHandler::register();
