<?php

require getenv('PACKAGE') . '/autoload.php';

SessionServer\SaveHandler::register('tcp://localhost');

session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
session_write_close();

echo $_SESSION['visits'];
