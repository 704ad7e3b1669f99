import EspalierBasics
import TestSupport
import Testing

/// `store`: the usual path, what is printed, and what is refused.
@Suite(.serialized) struct StoreTests {
  @Test func modelsComeAndGo() throws {
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 1)
      let first = try Program.run("store", "add", scene.store, scene.model("base") + "/")
      #expect(first.code == 0 && first.output.hasPrefix("base: 2 files, "), "\(first)")
      let added = try Program.run("store", "add", scene.store, scene.model("tuned0"), "--name", "tuned", "--json")
      let report = try #require(try added.events.last)
      #expect(report["event"]?.string == "stored" && report["bases"]?[0]?["bases"]?[0]?.string == "base", "\(added)")

      let list = try Program.run("store", "list", scene.store)
      let lines = list.output.split(separator: "\n")
      #expect(lines.count == 4 && lines[0].hasPrefix("model") && lines[2].hasSuffix("base"), "\(list)")
      let json = try #require(try Program.run("store", "list", scene.store, "--json").events.last)
      #expect(json["models"]?.array?.count == 2)
      #expect(json["models"]?[1]?["bases"]?[0]?.string == "base")
      let (whole, kept) = (json["bytes"]?.integer ?? 0, json["kept_bytes"]?.integer ?? 0)
      #expect(kept > 0 && kept < whole)

      // A stored model is read as it is.
      let stored = "\(scene.store)/models/tuned"
      let inspected = try Program.run("inspect", stored, "--detail", "tensors", "--norms", "--json")
      let expected = try Program.run("inspect", scene.model("tuned0"), "--detail", "tensors", "--norms", "--json")
      #expect(inspected.code == 0, "\(inspected)")
      #expect(try inspected.events.last?["tensors"] == expected.events.last?["tensors"])
      let verified = try Program.run("verify", stored)
      #expect(verified.code == 0, "\(verified)")

      let got = try Program.run("store", "get", scene.store, "tuned", "-o", scene.output)
      #expect(got.code == 0 && got.output.contains("every byte as it was"), "\(got)")
      #expect(try differences(scene.output, scene.model("tuned0")) == [])
      let taken = try Program.run("store", "get", scene.store, "tuned", "-o", scene.output)
      #expect(taken.code == 1 && taken.errors.contains("output.exists"), "\(taken)")

      let removed = try Program.run("store", "remove", scene.store, "tuned")
      #expect(removed.code == 0 && removed.output.contains("store gc"), "\(removed)")
      let collected = try Program.run("store", "gc", scene.store, "--json")
      #expect(try collected.events.last?["objects"]?.integer == 2, "\(collected)")
      let checked = try Program.run("store", "check", scene.store)
      #expect(checked.code == 0 && checked.output.contains("1 models, 2 files"), "\(checked)")
    }
  }

  @Test func damageIsNamed() throws {
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 1)
      try scene.add("base")
      try scene.add("tuned0")
      let link = "\(scene.store)/models/base/model.safetensors.packed"
      let object = try #require(FileSystem.resolved(link))
      var bytes = try FileSystem.read(object)
      bytes[bytes.count / 2] ^= 1
      try FileSystem.write(bytes, to: object)
      let checked = try Program.run("store", "check", scene.store)
      #expect(checked.code == 1 && checked.errors.contains(FileSystem.lastComponent(of: object)), "\(checked)")
      #expect(checked.errors.contains("(base, tuned0)"), "\(checked)")
      let got = try Program.run("store", "get", scene.store, "tuned0", "-o", scene.output)
      #expect(got.code == 1, "\(got)")
      #expect(FileSystem.kind(scene.output) == nil && FileSystem.kind(scene.output + ".partial") == nil)
      try scene.add("base", as: "copy")
      try scene.expectWhole([("base", "base"), ("tuned0", "tuned0")], "mended")
    }
  }

  @Test func whatIsRefused() throws {
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 0)
      for verb in [["list"], ["gc"], ["check"], ["remove", "x"], ["get", "x", "-o", scene.output]] {
        let outcome = try Program.run(["store", verb[0], scene.store] + verb.dropFirst())
        #expect(outcome.code == 1 && outcome.errors.contains("store.format"), "\(outcome)")
      }
      let nothing = try Program.run("store", "add", scene.store, scene.model("nowhere"))
      #expect(nothing.code == 1, "\(nothing)")
      #expect(FileSystem.kind(scene.store) == nil)
      let wrong = try Program.run("store", "add", scene.model("base"), scene.model("base"))
      #expect(wrong.code == 1 && wrong.errors.contains("the folder is no store"), "\(wrong)")
      try scene.add("base")
      for name in ["a/b", "..", "../base"] {
        let outcome = try Program.run("store", "add", scene.store, scene.model("base"), "--name", name)
        #expect(outcome.code == 1 && outcome.errors.contains("no name for a model"), "\(outcome)")
      }
      let again = try Program.run("store", "add", scene.store, scene.model("base"))
      #expect(again.code == 1 && again.errors.contains("--force"), "\(again)")
      let little = try Program.run("store", "add", scene.store, scene.model("base"), "--name", "b", "--memory", "8M")
      #expect(little.code == 1 && little.errors.contains("memory.ceiling"), "\(little)")
      #expect(try scene.names() == ["base"])
    }
  }

  /// Memory does not grow with the model, and stays below what is planned.
  @Test func memoryIsFlat() throws {
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 1, layers: 12, width: 1024)
      for name in ["base", "tuned0"] {
        let added = try Program.run(scene.addition(of: name).dropLast() + ["--json"])
        let peak = try #require(try added.events.last?["peak_bytes"]?.integer, "\(added)")
        print("adding \(name), 50 MB: at most \(peak) bytes")
        #expect(peak < 128 << 20)
      }
      let got = try Program.run("store", "get", scene.store, "tuned0", "-o", scene.output, "--threads", "2", "--json")
      let peak = try #require(try got.events.last?["peak_bytes"]?.integer, "\(got)")
      print("giving it back: at most \(peak) bytes")
      #expect(peak < 128 << 20)
    }
  }
}
