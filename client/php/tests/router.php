<?php

declare(strict_types=1);

/*
 * A web application that runs the code in its request. PHP's built-in web server serves all requests in one process, so
 * that persistent streams outlive a request.
 */
require __DIR__ . '/../register.php';

$result = eval(file_get_contents('php://input'));
echo json_encode($result);
