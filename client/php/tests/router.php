<?php

declare(strict_types=1);

/*
 * A web application that does what it is sent: PHP's built-in web server serves many requests in one process, so that
 * persistent streams persist.
 */
require __DIR__ . '/../register.php';

$result = eval(file_get_contents('php://input'));
echo json_encode($result);
