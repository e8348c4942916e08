<?php

require getenv('PACKAGE') . '/autoload.php';

$client = new SessionServer\Client('tcp://localhost');
$id = $client->new();             // locked
$client->put('foo', 'bar');
$client->close();                 // saved

$client->open($id, 'u', 2.5);     // exclusive, existing only, waits up to 2.5 s
$client->putMany(['a' => '1', 'b' => "any bytes \0\r\n"]);
print_r($client->getAll());
$client->close();

$client->pipeline([['open', $id, 'u'], ['get', 'a'], ['close']]); // three requests, one round trip
