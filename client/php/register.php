<?php

declare(strict_types=1);

/**
 * Stores the sessions of an unchanged application on a sessionserver. Set auto_prepend_file in php.ini to this file,
 * and session.save_path to the DSN.
 */
require_once __DIR__ . '/autoload.php';

SessionServer\SaveHandler::register();
